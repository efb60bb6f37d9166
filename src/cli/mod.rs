//! What people type and read: one file a command; only here is anything printed.

pub mod diagnostics;
