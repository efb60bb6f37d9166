//! What the host is like, as far as releases fail by it: a failure that is its fault waits until it is another one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Context, chain};
use crate::desired::Wanted;
use crate::host::Listener;
use crate::model::Digest;

/// Of what the host is like, as far as releases fail by it: room on its disks, users, the web server, its configuration, and who
/// has ports that it may want.
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
    let front = format!("{:?} {:?}", cx.host.front().process().ok(), holders(cx, wanted));
    let all: Vec<String> = room.chain(stamps).chain([front]).collect();
    Digest::of(all.join("\n").as_bytes())
}

fn holders(cx: &Context<'_>, wanted: &Wanted) -> BTreeSet<(u16, u32, Option<String>)> {
    let listeners = cx.host.kernel().listeners().unwrap_or_default();
    let app = cx.host.users().user(&wanted.env.user).ok().flatten().map(|app| app.uid);
    let (free, _) = cx.host.kernel().ephemeral_ports().unwrap_or((u16::MAX, u16::MAX));
    let asked_for = |port| port < free || port == cx.facts.http_port;
    others(listeners, app).filter(|(port, ..)| asked_for(*port)).collect()
}

/// Without nginx's own and the application's, which come and go with a release that is tried. Not by their processes: any of
/// those that share a socket may be the one that is found.
fn others(listeners: Vec<Listener>, app: Option<u32>) -> impl Iterator<Item = (u16, u32, Option<String>)> {
    let others = listeners.into_iter().filter(move |it| it.command.as_deref() != Some("nginx") && Some(it.uid) != app);
    others.map(|listener| (listener.port, listener.uid, listener.command))
}

/// Free room in steps of a factor of 1.4: what others write meanwhile is no change, and what makes a release fit mostly is.
fn step(free: u64) -> u32 {
    u128::from(free.max(1)).pow(2).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_port_is_told_from_what_a_release_brings_along() {
        let listener = |port, uid, pid, command: &str| {
            let (pid, command) = (Some(pid), Some(command.to_owned()));
            Listener { port, uid, pid, command }
        };
        let seen = |found: &[Listener]| others(found.to_vec(), Some(1500)).collect::<BTreeSet<_>>();
        let before = seen(&[listener(80, 0, 7, "nginx"), listener(8080, 33, 9, "apache2")]);
        assert_eq!(before, BTreeSet::from([(8080, 33, Some("apache2".to_owned()))]));
        let app = listener(9100, 1500, 12, "python3");
        assert_eq!(seen(&[listener(443, 0, 8, "nginx"), listener(8080, 33, 10, "apache2"), app]), before);
        assert_ne!(seen(&[listener(80, 0, 7, "nginx")]), before);
    }
}
