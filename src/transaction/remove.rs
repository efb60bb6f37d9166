//! Takes an environment off the host: one rename to *absent*, then its links. Trees, data, media and logs stay.

use super::{Context, Failure, Phase, commit, slot};
use crate::model::{EnvName, Slot};
use crate::observed::Installed;

/// Disables an environment. Its generations and releases stay on the disk, so that it can come back.
pub fn remove(cx: &Context<'_>, installed: &Installed) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Switch);
    let name = &installed.name;
    if installed.active != Some(0) {
        commit::activate(cx, name, 0)?;
    }
    let files = cx.host.files();
    for link in [cx.layout.nginx_link(name), cx.layout.logrotate_link(name), cx.layout.tmpfiles_link(name)] {
        files.remove(&link).map_err(&fail)?;
    }
    commit::reload(cx)?;
    for slot in Slot::BOTH {
        slot::retire(cx, name, slot).map_err(&fail)?;
        slot::clear(cx, name, slot).map_err(&fail)?;
    }
    forget(cx, name)
}

/// The last step: without `active` the environment is not installed any more.
fn forget(cx: &Context<'_>, name: &EnvName) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Switch);
    let files = cx.host.files();
    files.remove(&cx.layout.web_socket(name)).map_err(&fail)?;
    files.remove(&cx.layout.active_link(name)).map_err(&fail)
}
