//! The deploy repository: TOML in, typed values out, with `file:line:column` for every complaint.

mod environment;

pub use environment::{
    Django, Environment, Expect, Gunicorn, Health, Literal, Logs, Migrations, Nginx, Policy, Python, Rev, Web,
};
