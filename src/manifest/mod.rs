//! The deploy repository: TOML in, typed values out, with `file:line:column` for every complaint.
//!
//! [`parse`] takes the files as a [`Tree`] and gives a [`Repository`] and [`Diagnostics`]. A file becomes a table with
//! places (`document`), keys are read with types (`reader`, `sections`), three layers are laid over each other
//! (`layer`, `candidate`), what is shared is handed out (`ports`, `rules`), and the rest is filled in (`resolve`).

mod candidate;
mod diagnostic;
mod document;
mod environment;
mod fleet;
mod hosts;
mod kind;
mod later;
mod layer;
mod literal;
mod notify;
mod ports;
mod reader;
mod repository;
mod resolve;
mod rules;
mod sections;
mod suggest;
mod tree;
mod unknown;
mod value;
mod version;

pub use diagnostic::{Concern, Diagnostic, Diagnostics, Invalid, Place, Severity};
pub use environment::{
    Django, Environment, Expect, Gunicorn, Health, Literal, Logs, Migrations, Nginx, Policy, Python, Rev, Web,
};
pub use fleet::PortPolicy;
pub use hosts::HostEntry;
pub use notify::Notify;
pub use repository::{Repository, parse};
pub use tree::{Entry, LARGEST_FILE, Tree};
pub use version::Version;
