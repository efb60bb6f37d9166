//! End to end: a booted Debian with systemd as PID 1, real nginx, sshd, git and Django.
//!
//! [`base`] is the root file system, built once; [`host`] boots a machine on it in under a second; [`git`] serves the two
//! repositories; [`load`] keeps asking while something happens; [`world`] is all of it. [`kernel`] kills the program at each of
//! the [`calls`] by which it changes something in a scene of [`scenes`]. [`traces`] says what a machine leaves behind, and the
//! last step of `make test` asserts that it is nothing.

#![expect(clippy::disallowed_methods, reason = "a test bed is made of processes, files and clocks")]
#![allow(dead_code, reason = "a bed has what tests ask for, before and after one of them asks")]

mod absent;
mod agent;
mod answers;
mod back;
mod badinput;
mod base;
mod calls;
mod clock;
mod cmd;
mod collect;
mod commands;
mod concurrency;
mod crash;
mod damaged;
mod disk;
mod django;
mod double;
mod drift;
mod edits;
mod first;
mod fleet;
mod formats;
mod front;
mod full;
mod git;
mod hangup;
mod health;
mod holds;
mod host;
mod http;
mod idle;
mod kernel;
#[path = "../lives/ledger.rs"]
mod ledger;
mod life;
mod load;
mod names;
mod notify;
mod oracle;
mod ports;
mod power;
mod prune;
mod release;
mod scenes;
mod schema;
mod seen;
mod setup;
mod share;
mod slots;
mod smoke;
mod soak;
mod source_rules;
#[path = "../lives/step.rs"]
mod step;
mod supervisor;
mod systemd;
mod takeover;
#[path = "../lives/tally.rs"]
mod tally;
mod terminal;
#[path = "../lives/told.rs"]
mod told;
mod traces;
mod uv;
mod why;
mod words;
mod world;
