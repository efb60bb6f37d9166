//! Portreeve keeps Django sites running on plain Linux servers: a host pulls a deploy repository, builds what changed
//! beside what serves, and switches with one rename once the new release is healthy.
//!
//! This page is the map. The modules are the nouns of the design, in the order in which a pass goes through them:
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | names, paths, ports, digests: parsed once, never checked again |
//! | [`settings`] | what the host's operator says: `/etc/portreeve/agent.toml` |
//! | [`agent`] | the loop and its schedule, the pass, and the orders that people give |
//! | [`source`] | git: fetch, choose a commit that follows the one before, export its tree |
//! | [`manifest`] | what the deploy repository says; every complaint with file, line and column |
//! | [`desired`] | what is wanted of an environment, and a generation: one numbered state of it |
//! | [`resource`] | the text of each file of a generation, one kind a module |
//! | [`emit`] | the grammars of those files: nobody else writes nginx, unit, logrotate, tmpfiles or env syntax |
//! | [`observed`] | what was found on the host |
//! | [`policy`] | hold, quarantine, retry: what keeps an environment from moving |
//! | [`plan`] | one value that says what to do; `portreeve plan` prints it, a pass executes it |
//! | [`transaction`] | a plan carried out: stage, start, health, **the rename**, effects, recovery |
//! | [`health`] | whether a process answers as it should |
//! | [`history`] | what happened, in SQLite |
//! | [`notify`] | who is told of a change of state, once, and in which words |
//! | [`host`] | the machine: the only module that touches files, processes, clock and service managers |
//! | [`cli`] | one file a command; the only module that prints |
//!
//! # How a pass flows
//!
//! ```text
//! tick → lock → recover → fetch → select → parse → resolve → what is wanted
//!                                                          observe → what is there
//! decide(wanted, there, standing) → Plan ── nothing to do → converged
//! for each environment, on its own:
//!     build → stage → validate → migrate → start → health → RENAME → effects → verify → retire the old slot
//! ```
//!
//! [`agent::pass`] is that line; [`agent::survey()`] is its first half, and what `portreeve plan` stops after;
//! [`transaction::go`] is its second. Everything before the rename is undone by forgetting it, and everything after it
//! follows from the generation that is active, so it can be issued again: [`transaction::recover`] does nothing else.
//!
//! # Walls
//!
//! [`model`], [`manifest`], [`settings`], [`desired`], [`observed`], [`plan`], [`policy`], [`emit`], [`resource`],
//! [`source::select`](mod@source::select), [`agent::schedule`] and [`agent::explain`] are pure: no machine, no clock, no network; `now` is
//! an argument. `tests/architecture.rs` says which module may name which, and fails on an edge that goes up.

pub mod agent;
pub mod cli;
pub mod desired;
pub mod emit;
pub mod health;
pub mod history;
pub mod host;
pub mod manifest;
pub mod model;
pub mod notify;
pub mod observed;
pub mod plan;
pub mod policy;
pub mod resource;
pub mod settings;
pub mod source;
pub mod transaction;
