//! What the host is like, as far as releases fail by it: a failure that is its fault waits until it is another one.

use std::path::PathBuf;

use super::{Context, chain};
use crate::desired::Wanted;
use crate::model::Digest;

/// Of what the host is like, as far as releases fail by it: room on its disks, users, the web server and its configuration.
pub fn host_print(cx: &Context<'_>, wanted: &Wanted) -> Digest {
    let files = cx.host.files();
    let layout = cx.layout;
    let places = [layout.state(), layout.config(), cx.paths(wanted).home()];
    let room = places.iter().map(|place| match files.free_space(place) {
        Ok(free) => format!("{} {:?}", step(free.bytes), free.inodes.map(step)),
        Err(error) => chain(&error),
    });
    let mut stamped = vec![PathBuf::from("/etc/passwd"), PathBuf::from("/etc/group"), layout.nginx_conf()];
    for directory in [layout.nginx_sites(), layout.nginx_conf_d(), layout.local_nginx(&wanted.env.name)] {
        let names = files.list(&directory).unwrap_or_default().into_iter();
        // What is ours leads elsewhere while the release that fails is active.
        let others = names.filter(|name| !name.starts_with("portreeve-"));
        stamped.extend(others.map(|name| directory.join(name)));
    }
    let stamps = stamped.iter().map(|path| format!("{} {}", path.display(), files.stamp(path).unwrap_or_default()));
    let front = format!("{:?}", cx.host.front().running().ok());
    let all: Vec<String> = room.chain(stamps).chain([front]).collect();
    Digest::of(all.join("\n").as_bytes())
}

/// Free room in steps of a factor of 1.4: what others write meanwhile is no change, and what makes a release fit mostly is.
fn step(free: u64) -> u32 {
    u128::from(free.max(1)).pow(2).ilog2()
}
