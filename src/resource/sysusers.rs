//! The system user of an environment.

use crate::emit::{EmitError, sysusers};
use crate::model::EnvLayout;
use crate::model::UserName;

/// The file of sysusers.d that makes `user`: no login, a group of the same name, and a home that root owns.
pub fn render(user: &UserName, layout: &EnvLayout) -> Result<String, EmitError> {
    sysusers::user(user, "portreeve application", &layout.user_home())
}
