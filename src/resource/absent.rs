//! Generation 0: nothing of the environment is on the host, and yet every permanent link leads to a file.

use super::Rendered;
use crate::emit::{logrotate, nginx, tmpfiles::TmpFiles};

/// The files of the absent generation. nginx fails to start on a dangling include, logrotate gives up its whole run.
pub fn absent_files() -> Vec<Rendered> {
    vec![
        Rendered::everyone("nginx.conf", nginx::render(&[])),
        Rendered::everyone("logrotate", logrotate::render(&[])),
        Rendered::everyone("tmpfiles.conf", TmpFiles::new().render()),
    ]
}
