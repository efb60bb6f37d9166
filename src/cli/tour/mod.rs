//! `portreeve try`: the newcomer's tour. Real nginx, Supervisor and Django below one directory, as whoever runs it; four releases
//! of a small site, and a client that sends requests all the while and counts.
//!
//! - [`place`]: the directory, and what in it is ours
//! - [`bakery`]: the site's repository and its three versions
//! - [`deploy`]: the deploy repository, and the host's agent.toml
//! - [`servers`]: nginx and supervisord, in the foreground
//! - [`portreeve`]: this very program as a child, as a person would type it
//! - [`story`]: what happens, in order, and what must come out

mod bakery;
mod deploy;
mod error;
mod git;
mod place;
mod portreeve;
mod servers;
mod signals;
mod story;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::args::TryArgs;
use super::{Fault, printer};
use error::TourError;
use place::Place;
use story::Tour;

/// The first port that is tried for the site.
const PORT: u16 = 8480;

/// The whole tour.
pub fn run(args: &TryArgs) -> Result<u8, Fault> {
    let cancel = Arc::new(AtomicBool::new(false));
    signals::watch(Arc::clone(&cancel)).map_err(|error| Fault::failed(&error))?;
    let stays = !args.once && std::io::stdout().is_terminal();
    live(args, cancel, stays).map_err(TourError::fault)
}

fn live(args: &TryArgs, cancel: Arc<AtomicBool>, stays: bool) -> Result<u8, TourError> {
    let place = Place::take(&args.dir, cancel)?;
    let tour = Tour::prepare(&place)?;
    let seen = tour.story()?;
    printer::line("");
    printer::line(format!("{} requests, {} failed", thousands(seen.requests), thousands(seen.failed)));
    for failure in &seen.failures {
        printer::line(format!("  {failure}"));
    }
    tour.what_next(stays)?;
    if stays {
        tour.stay()?;
    }
    Ok(u8::from(seen.failed > 0))
}

/// `12,408`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

#[test]
fn numbers_are_grouped_for_people() {
    for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12408, "12,408"), (1_234_567, "1,234,567")] {
        assert_eq!(thousands(number), text);
    }
}
