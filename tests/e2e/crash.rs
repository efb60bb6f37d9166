//! Ends the program at an exact point of its work, from outside: a tracer kills it before a chosen system call.

use crate::cmd::CmdResult;
use crate::world::World;

/// A system call on a path (or in that directory), and which one of those.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// What has happened by then, for messages.
    pub name: &'static str,
    /// The call, which does not take place.
    pub call: &'static str,
    /// What it is about.
    pub path: &'static str,
    /// 1: the first.
    pub nth: u32,
}

impl Point {
    /// The first such call.
    pub const fn first(name: &'static str, call: &'static str, path: &'static str) -> Self {
        Self { name, call, path, nth: 1 }
    }
}

/// A pass that is killed at `point`, as by the kernel when memory runs out.
#[track_caller]
pub fn pass_dies_at(world: &World, point: Point) -> CmdResult {
    let result = pass_until(world, point, &[]);
    assert!(died(&result), "{}: the pass went on\n{result}", point.name);
    result
}

/// A pass that is killed at `point`, if it gets there.
#[track_caller]
pub fn pass_until(world: &World, point: Point, arguments: &[&str]) -> CmdResult {
    let inject = format!("inject={}:signal=KILL:when={}", point.call, point.nth);
    let trace = format!("trace={}", point.call);
    // Programs that it starts are let go of: they are somebody else, and come to such calls too.
    let strace = ["strace", "-f", "-b", "execve", "-qq", "-o", "/run/trace"];
    let traced = [&strace[..], &["-P", point.path, "-e", &trace, "-e", &inject]].concat();
    world.exec(&[&traced[..], &["portreeve", "reconcile"], arguments].concat())
}

/// Whether it got there: strace ends itself as its program was ended, and faketime(1) says so of what it runs.
pub fn died(pass: &CmdResult) -> bool {
    matches!(pass.code, -1 | 137) || pass.stderr.contains("Caught Killed")
}
