//! What the host is like, as far as releases fail by it: a failure that is its fault waits until it is another one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Context, chain};
use crate::desired::Wanted;
use crate::host::Listener;
use crate::model::{Digest, Found};
use crate::resource::vhost;

/// Of what the host is like, as far as releases fail by it: room on its disks, users, the web server, its configuration, who has
/// ports that it is told to listen on, and how packages are installed (which is part of the environment's key).
pub fn host_print(cx: &Context<'_>, wanted: &Wanted) -> Digest {
    let files = cx.host.files();
    let layout = cx.layout;
    let places = [layout.state(), layout.config(), cx.paths(wanted).home()];
    let room = places.iter().map(|place| match files.free_space(place) {
        Ok(free) => format!("{} {:?}", step(free.bytes), free.inodes.map(step)),
        Err(error) => chain(&error),
    });
    let mut stamped = vec![PathBuf::from("/etc/passwd"), PathBuf::from("/etc/group")];
    stamped.extend(configuration(cx, wanted, is_theirs));
    let stamps = stamped.iter().map(|path| format!("{} {}", path.display(), files.stamp(path).unwrap_or_default()));
    let front = format!("{:?} {:?}", cx.host.front().process().ok(), holders(cx, wanted));
    let all: Vec<String> = room.chain(stamps).chain([front, wanted.venv.clone()]).collect();
    Digest::of(all.join("\n").as_bytes())
}

/// What is ours leads elsewhere while the release that fails is active.
fn is_theirs(path: &Path) -> bool {
    !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("portreeve-"))
}

/// The files of nginx's configuration that `counts`, as far as they lie where they usually do.
fn configuration(cx: &Context<'_>, wanted: &Wanted, counts: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let layout = cx.layout;
    let directories = [layout.nginx_sites(), layout.nginx_conf_d(), layout.local_nginx(&wanted.env.name)];
    let inside = directories.into_iter().flat_map(|directory| {
        let names = cx.host.files().list(&directory).unwrap_or_default().into_iter();
        names.map(move |name| directory.join(name))
    });
    [layout.nginx_conf()].into_iter().chain(inside.filter(|path| counts(path))).collect()
}

/// Who else has a port that nginx is told to listen on. Other ports are none of a release's business, whoever comes and goes there.
fn holders(cx: &Context<'_>, wanted: &Wanted) -> BTreeSet<(u16, u32, Option<String>)> {
    let listeners = cx.host.kernel().listeners().unwrap_or_default();
    let app = cx.host.users().user(&wanted.env.user).ok().flatten().map(|app| app.uid);
    let wants = listens(cx, wanted);
    others(listeners, app).filter(|(port, ..)| wants.contains(port)).collect()
}

/// The vhost of the environment itself leads elsewhere while what fails is active: it counts with the port of all vhosts.
fn listens(cx: &Context<'_>, wanted: &Wanted) -> BTreeSet<u16> {
    let own = cx.layout.nginx_link(&wanted.env.name);
    let said = configuration(cx, wanted, |path| path != own).into_iter().flat_map(|path| {
        let text = cx.host.files().read(&led_to(cx, path), super::read::LIMIT).ok().flatten().unwrap_or_default();
        vhost::ports(&String::from_utf8_lossy(&text)).collect::<Vec<_>>()
    });
    said.chain([cx.facts.http_port]).collect()
}

/// A site is mostly a link to where it is kept.
fn led_to(cx: &Context<'_>, path: PathBuf) -> PathBuf {
    match cx.host.files().look(&path) {
        Ok(Found::Link(target)) => path.with_file_name(target),
        _ => path,
    }
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
