//! Passes on schedule.

pub mod schedule;
