//! What a sweep counts, in memory and on a real kernel.

use std::fmt;

/// How much was tried, and what was found.
#[derive(Debug, Default)]
pub struct Tally {
    pub kills: usize,
    /// Kills after which the power was cut as well; in memory the disks' images are that.
    pub cuts: usize,
    pub errors: usize,
    pub pairs: usize,
    pub half_applied: Vec<String>,
    /// Points that another thread's call hides from the tracer: not killed, and not counted.
    pub hidden: Vec<String>,
    /// Points that were there when the work was listed, and that no later run came by: not tried, and not counted.
    pub missed: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, errors, pairs, half_applied, .. } = self;
        let half = half_applied.len();
        write!(f, "{kills} kill points, {errors} error points, {pairs} pairs, {half} half-applied")
    }
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.cuts += other.cuts;
        self.errors += other.errors;
        self.pairs += other.pairs;
        self.half_applied.extend(other.half_applied);
        self.hidden.extend(other.hidden);
        self.missed.extend(other.missed);
    }
}
