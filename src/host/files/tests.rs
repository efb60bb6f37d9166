//! Run as root, on a directory that stands for the machine: owners are really given and refused.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::host::Parts;
use crate::model::Root;

/// `nobody` on Debian: somebody who is neither root nor us.
const OTHER: Identity = Identity { uid: 65534, gid: 65534 };

struct Place {
    _directory: tempfile::TempDir,
    top: PathBuf,
    files: RealFiles,
    cancel: Arc<AtomicBool>,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().canonicalize().unwrap();
    let cancel = Arc::new(AtomicBool::new(false));
    let layout = Layout::new(Root::at(&top));
    let parts = Parts::with_authority(&layout, Authority::Machine, Arc::clone(&cancel)).unwrap();
    Place { _directory: directory, top, files: parts.files, cancel }
}

impl Place {
    fn at(&self, path: &str) -> PathBuf {
        self.top.join(path)
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.files.put(&self.at(path), &file(bytes))
    }

    fn directory(&self, path: &str, mode: u32, owner: Identity) {
        fs::create_dir_all(self.at(path)).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
        chown(self.at(path), Some(owner.uid), Some(owner.gid)).unwrap();
    }

    /// All names below, but for the staging directory's own.
    fn names(&self, path: &str) -> Vec<String> {
        self.files.list(&self.at(path)).unwrap()
    }

    fn tree(&self, path: &str, nodes: Vec<(&str, Node)>) -> Result<()> {
        let mut nodes = nodes.into_iter().map(|(path, node)| Ok((PathBuf::from(path), node)));
        self.files.make_tree(&self.at(path), 0o755, Identity::ROOT, &mut nodes)
    }
}

fn file(bytes: &[u8]) -> Node {
    Node::File { bytes: bytes.to_owned(), mode: 0o640, owner: OTHER }
}

fn directory(mode: u32) -> Node {
    Node::Directory { mode, owner: Identity::ROOT }
}

fn why(result: Result<()>) -> String {
    match result.unwrap_err() {
        HostError::Unsafe { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_goes_meanwhile_is_on_no_way_that_is_known() {
    let place = place();
    let together = place.files.together();
    let make = |name: &str| {
        place.files.make_directory(&place.at("a/b/c"), 0o755, Identity::ROOT).unwrap();
        place.put(&format!("a/b/{name}"), b"x").unwrap();
    };
    make("removed");
    place.files.remove_tree(&place.at("a/b")).unwrap();
    make("renamed");
    place.files.rename(&place.at("a"), &place.at("aside")).unwrap();
    make("there");
    together.finish().unwrap();
    assert_eq!(
        (place.names("a/b"), place.names("aside/b")),
        (vec!["c".into(), "there".into()], vec!["c".into(), "renamed".into()])
    );
}

#[test]
fn a_link_where_nothing_is_needs_no_staging() {
    let place = place();
    let link = |text: &str| place.files.put(&place.at("link"), &Node::Link(text.into()));
    link("one").unwrap();
    assert_eq!(place.names(""), ["link"]);
    link("two").unwrap();
    assert_eq!(place.files.look(&place.at("link")).unwrap(), Found::Link("two".into()));
    place.directory("there", 0o755, Identity::ROOT);
    assert!(place.files.put(&place.at("there"), &Node::Link("three".into())).is_err(), "a directory stays");
}

#[test]
fn a_file_is_put_whole_with_its_owner_and_mode() {
    let place = place();
    place.put("site.conf", b"one").unwrap();
    place.put("site.conf", b"two").unwrap();
    let path = place.at("site.conf");
    assert_eq!(place.files.look(&path).unwrap(), Found::File { mode: 0o640, owner: OTHER, size: 3 });
    assert_eq!(place.files.read(&path, 3).unwrap().unwrap(), b"two");
    assert_eq!(place.names("etc/portreeve/staging"), [""; 0]);
}

#[test]
fn a_link_in_the_targets_place_is_replaced_and_not_followed() {
    let place = place();
    fs::write(place.at("victim"), "safe").unwrap();
    symlink("victim", place.at("target")).unwrap();
    place.put("target", b"new").unwrap();
    assert_eq!(fs::read(place.at("victim")).unwrap(), b"safe");
    assert_eq!(place.files.read(&place.at("target"), 9).unwrap().unwrap(), b"new");
    place.files.put(&place.at("target"), &Node::Link("victim".into())).unwrap();
    assert_eq!(place.files.look(&place.at("target")).unwrap(), Found::Link("victim".into()));
}

#[test]
fn a_directory_in_the_targets_place_stays_and_nothing_is_left() {
    let place = place();
    place.directory("target", 0o755, Identity::ROOT);
    assert!(place.put("target", b"new").unwrap_err().to_string().starts_with("can't replace "));
    assert_eq!(place.names("etc/portreeve/staging"), [""; 0]);
    assert!(matches!(place.files.look(&place.at("target")).unwrap(), Found::Directory { .. }));
}

#[test]
fn a_home_that_its_user_owns_is_refused_with_the_cure() {
    let place = place();
    place.directory("home/foo", 0o755, OTHER);
    why(place.files.make_directory(&place.at("home/foo"), 0o755, Identity::ROOT));
    let Found::Directory { owner, .. } = place.files.look(&place.at("home/foo")).unwrap() else { panic!() };
    assert_eq!(owner, OTHER, "nobody's home is taken from him");
    let said = why(place.put("home/foo/x", b""));
    assert!(said.starts_with("owned by nobody; root does not write there: "), "{said}");
    // Also further down, where the directory itself is root's.
    place.directory("home/foo/root", 0o755, Identity::ROOT);
    why(place.put("home/foo/root/x", b""));
    why(place.files.make_directory(&place.at("home/foo/root/y/z"), 0o755, Identity::ROOT));
    why(place.files.remove_tree(&place.at("home/foo/root")));
    why(place.files.rename(&place.at("home/foo/root"), &place.at("x")));
    assert_eq!(place.names("home/foo"), ["root"]);
}

#[test]
fn a_directory_that_everybody_writes_is_refused() {
    let place = place();
    place.directory("open", 0o777, Identity::ROOT);
    place.directory("sticky", 0o1777, Identity::ROOT);
    for path in ["open/x", "sticky/x"] {
        assert!(why(place.put(path, b"")).contains("chmod o-w"));
        why(place.files.remove(&place.at(path)));
        why(place.files.raise_flag(&place.at(path)));
    }
}

#[test]
fn a_system_groups_directory_is_only_passed_through() {
    let place = place();
    place.directory("log", 0o775, Identity { uid: 0, gid: 4 });
    assert!(why(place.put("log/x", b"")).contains("chmod g-w"));
    why(place.files.make_directory(&place.at("log/app"), 0o750, OTHER));
    place.files.make_directory(&place.at("log/foo/bakery"), 0o750, OTHER).unwrap();
    assert_eq!(place.files.look(&place.at("log/foo/bakery")).unwrap(), Found::Directory { mode: 0o750, owner: OTHER });
    // What is there already could be another of root's directories in the right one's name.
    place.files.make_directory(&place.at("log/foo"), 0o700, Identity::ROOT).unwrap();
    let Found::Directory { mode, .. } = place.files.look(&place.at("log/foo")).unwrap() else { panic!() };
    assert_eq!(mode, 0o755);
}

#[test]
fn a_peoples_groups_directory_is_refused() {
    let place = place();
    place.directory("shared", 0o775, Identity { uid: 0, gid: 1000 });
    why(place.files.make_directory(&place.at("shared/x"), 0o755, Identity::ROOT));
    why(place.put("shared/x", b""));
}

#[test]
fn a_link_on_the_way_is_followed_only_where_root_alone_made_it() {
    let place = place();
    place.directory("data/home", 0o755, Identity::ROOT);
    symlink("data/home", place.at("home")).unwrap();
    symlink(place.at("data/./home"), place.at("absolute")).unwrap();
    place.put("home/x", b"").unwrap();
    place.put("absolute/y", b"").unwrap();
    assert_eq!(place.names("data/home"), ["x", "y"]);

    symlink("/etc", place.at("out")).unwrap();
    assert!(why(place.put("out/portreeve-test", b"")).contains("outside the root"));
    assert!(!Path::new("/etc/portreeve-test").exists());

    place.directory("app", 0o755, OTHER);
    symlink("../data", place.at("app/leaf")).unwrap();
    why(place.put("app/leaf/x", b""));
    place.directory("log", 0o775, Identity { uid: 0, gid: 4 });
    symlink("../data", place.at("log/foo")).unwrap();
    why(place.put("log/foo/x", b""));
    assert_eq!(place.names("data"), ["home"]);

    symlink("loop", place.at("loop")).unwrap();
    place.put("loop/x", b"").unwrap_err();
}

/// `/var/lib/portreeve -> /srv/portreeve`, and nobody else's.
#[test]
fn a_directory_that_is_a_link_is_swept_and_synced_where_root_alone_made_it() {
    let place = place();
    place.directory("srv/state", 0o700, Identity::ROOT);
    symlink("../srv/state", place.at("srv/linked")).unwrap();
    let left = place.at("srv/state/.x.new-1-0");
    fs::write(&left, "").unwrap();
    old_enough(&left);
    let linked = place.at("srv/linked");
    place.files.sync_all(&linked).unwrap();
    place.files.sweep(&linked, Makers::Anybody).unwrap();
    place.files.make_directory(&linked, 0o750, Identity::ROOT).unwrap();
    assert_eq!(fs::metadata(place.at("srv/state")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(place.names("srv/state"), [""; 0]);

    symlink("nowhere", place.at("srv/dangling")).unwrap();
    place.files.sync_all(&place.at("srv/dangling")).unwrap();
    place.directory("app", 0o755, OTHER);
    for (link, target) in [("app/planted", "../srv/state"), ("srv/foreign", "../app"), ("srv/out", "/etc")] {
        symlink(target, place.at(link)).unwrap();
        why(place.files.sync_all(&place.at(link)));
        why(place.files.sweep(&place.at(link), Makers::Anybody));
    }
}

#[test]
fn nothing_is_written_outside_the_root_or_through_dots() {
    let place = place();
    why(place.files.put(Path::new("/nowhere/x"), &file(b"")));
    why(place.put("a/../../x", b""));
    why(place.files.remove_tree(&place.top));
}

#[test]
fn reading_refuses_what_is_no_small_file() {
    let place = place();
    fs::write(place.at("big"), "12345").unwrap();
    symlink("big", place.at("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, place.at("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    for path in ["big", "link", "pipe", "."] {
        place.files.read(&place.at(path), 4).unwrap_err();
    }
    assert_eq!(place.files.read(&place.at("big"), 5).unwrap().unwrap(), b"12345");
    assert_eq!(place.files.read(&place.at("none"), 5).unwrap(), None);
    assert_eq!(place.files.read(&place.at("big/none"), 5).unwrap(), None);
    assert_eq!(place.files.look(&place.at("big/none")).unwrap(), Found::Absent);
    assert_eq!(place.files.look(&place.at("pipe")).unwrap(), Found::Other);
    assert_eq!(place.names("none"), [""; 0]);
}

#[test]
fn directories_get_what_they_are_told_and_parents_are_roots() {
    let place = place();
    let leaf = place.at("srv/foo/media");
    place.files.make_directory(&leaf, 0o2750, OTHER).unwrap();
    assert_eq!(place.files.look(&leaf).unwrap(), Found::Directory { mode: 0o2750, owner: OTHER });
    assert_eq!(
        place.files.look(&place.at("srv/foo")).unwrap(),
        Found::Directory { mode: 0o755, owner: Identity::ROOT }
    );
    place.files.make_directory(&leaf, 0o700, OTHER).unwrap();
    assert_eq!(place.files.look(&leaf).unwrap(), Found::Directory { mode: 0o700, owner: OTHER });
    symlink("media", place.at("srv/foo/link")).unwrap();
    place.files.make_directory(&place.at("srv/foo/link"), 0o777, OTHER).unwrap_err();
}

#[test]
fn rename_and_remove() {
    let place = place();
    place.put("a", b"a").unwrap();
    place.directory("d", 0o755, Identity::ROOT);
    place.files.rename(&place.at("a"), &place.at("d/b")).unwrap();
    assert_eq!(place.names("d"), ["b"]);
    place.files.remove(&place.at("d/b")).unwrap();
    place.files.remove(&place.at("d/b")).unwrap();
    place.files.remove(&place.at("none/b")).unwrap();
    place.files.remove(&place.at("d")).unwrap_err();
    assert_eq!(place.files.put(&place.at("none/b"), &file(b"")).unwrap_err().errno(), Some(2));
}

#[test]
fn a_flag_is_for_everybody_to_see() {
    let place = place();
    for _ in 0..2 {
        place.files.raise_flag(&place.at("run-a")).unwrap();
    }
    let found = place.files.look(&place.at("run-a")).unwrap();
    assert_eq!(found, Found::File { mode: 0o644, owner: Identity::ROOT, size: 0 });
    symlink("victim", place.at("run-b")).unwrap();
    place.files.raise_flag(&place.at("run-b")).unwrap_err();
    assert_eq!(place.files.look(&place.at("victim")).unwrap(), Found::Absent);
}

#[test]
fn a_tree_appears_whole_with_its_owners_and_modes() {
    let place = place();
    place
        .tree(
            "42",
            vec![
                ("generation.toml", file(b"x")),
                ("locked", directory(0o555)),
                ("locked/deep", directory(0o700)),
                ("locked/deep/f", file(b"deep")),
                ("release", Node::Link("/somewhere".into())),
            ],
        )
        .unwrap();
    assert_eq!(place.names(""), ["42"]);
    assert_eq!(place.names("42"), ["generation.toml", "locked", "release"]);
    let look = |path: &str| place.files.look(&place.at(path)).unwrap();
    assert_eq!(look("42"), Found::Directory { mode: 0o755, owner: Identity::ROOT });
    assert_eq!(look("42/locked"), Found::Directory { mode: 0o555, owner: Identity::ROOT });
    assert_eq!(look("42/locked/deep/f"), Found::File { mode: 0o640, owner: OTHER, size: 4 });
    assert_eq!(look("42/release"), Found::Link("/somewhere".into()));
}

#[test]
fn a_big_tree_is_whole_too() {
    let place = place();
    let names: Vec<String> = (0..300).map(|n| format!("d{}/f{n}", n % 3)).collect();
    let directories = ["d0", "d1", "d2"].map(|name| (name, directory(0o755)));
    let files = names.iter().map(|name| (name.as_str(), file(name.as_bytes())));
    place.tree("big", directories.into_iter().chain(files).collect()).unwrap();
    assert_eq!(place.names("big/d1").len(), 100);
    assert_eq!(place.files.read(&place.at("big/d1/f1"), 99).unwrap().unwrap(), b"d1/f1");
}

#[test]
fn a_tree_refuses_an_existing_target() {
    let place = place();
    place.directory("42", 0o755, Identity::ROOT);
    assert_eq!(place.tree("42", vec![("f", file(b""))]).unwrap_err().errno(), Some(17));
    symlink("nowhere", place.at("43")).unwrap();
    assert_eq!(place.tree("43", vec![]).unwrap_err().errno(), Some(17));
    assert_eq!(place.names("42"), [""; 0]);
}

#[test]
fn a_target_that_appears_meanwhile_is_not_replaced() {
    let place = place();
    let target = place.at("42");
    let mut nodes = std::iter::once_with(|| {
        fs::create_dir(&target).unwrap();
        Ok((PathBuf::from("f"), file(b"")))
    });
    let refused = place.files.make_tree(&target, 0o755, Identity::ROOT, &mut nodes).unwrap_err();
    assert_eq!(refused.errno(), Some(17));
    assert_eq!((place.names(""), place.names("42")), (vec!["42".to_owned()], vec![]));
}

#[test]
fn a_tree_that_fails_leaves_nothing() {
    let place = place();
    for bad in ["../x", "/x", "", "missing/x", "ok/link/x"] {
        let nodes = vec![("ok", directory(0o755)), ("ok/link", Node::Link("/tmp".into())), (bad, file(b""))];
        place.tree("42", nodes).unwrap_err();
        assert_eq!(place.names(""), [""; 0], "{bad}");
    }
    let mut broken = [Err(HostError::Program { program: "git".into(), why: "died".into() })].into_iter();
    place.files.make_tree(&place.at("42"), 0o755, Identity::ROOT, &mut broken).unwrap_err();
    assert_eq!(place.names(""), [""; 0]);
}

/// Waits until a file without a lock is nobody's any more.
fn old_enough(path: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let changed = fs::symlink_metadata(path).unwrap().ctime();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    while now() < u64::try_from(changed).unwrap() + 3 {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_killed_run_left_is_swept_and_what_a_live_one_makes_is_not() {
    let place = place();
    place.directory("outside", 0o755, Identity::ROOT);
    fs::write(place.at("outside/f"), "").unwrap();
    for dead in ["g/.42.new-1-0/sub", "g/.42.gone-77-3/sub", "g/.43.new-1-0"] {
        place.directory(dead, 0o755, Identity::ROOT);
    }
    symlink(place.at("outside"), place.at("g/.42.new-1-0/sub/link")).unwrap();
    place.directory("g/.42.new-1-1", 0o755, Identity::ROOT);
    let live = fs::File::open(place.at("g/.42.new-1-1")).unwrap();
    live.lock().unwrap();
    old_enough(&place.at("g/.42.new-1-1"));

    place.tree("g/42", vec![]).unwrap();
    assert_eq!(place.names("g"), [".42.new-1-1", ".43.new-1-0", "42"]);
    assert_eq!(place.names("outside"), ["f"]);
    drop(live);

    place.directory("etc/portreeve/staging", 0o700, Identity::ROOT);
    fs::write(place.at("etc/portreeve/staging/.x.new-5-5"), "").unwrap();
    let sweep = || {
        ["g", "etc/portreeve/staging"].map(|place_of| place.files.sweep(&place.at(place_of), Makers::Anybody).unwrap())
    };
    sweep();
    let young = place.names("etc/portreeve/staging");
    assert_eq!(young, [".x.new-5-5"], "whoever made it may be about to lock it");
    symlink("x", place.at("g/.x.new-5-6")).unwrap();
    place.files.sweep(&place.at("g"), Makers::Anybody).unwrap();
    assert_eq!(place.names("g"), [".x.new-5-6", "42"], "a link can't be locked");
    place.files.sweep(&place.at("g"), Makers::Sweeper).unwrap();
    assert_eq!(place.names("g"), ["42"], "nobody else makes anything there");
    old_enough(&place.at("etc/portreeve/staging/.x.new-5-5"));
    sweep();
    assert_eq!(place.names("g"), ["42"]);
    assert_eq!(place.names("etc/portreeve/staging"), [""; 0]);
}

#[test]
fn removing_a_tree_follows_no_link() {
    let place = place();
    place.directory("outside", 0o755, Identity::ROOT);
    fs::write(place.at("outside/f"), "").unwrap();
    place.directory("tree/sub", 0o500, OTHER);
    symlink(place.at("outside"), place.at("tree/sub/link")).unwrap();
    symlink("tree", place.at("link")).unwrap();
    assert_eq!(place.files.remove_tree(&place.at("link")).unwrap_err().errno(), Some(20));
    place.files.remove_tree(&place.at("tree")).unwrap();
    place.files.remove_tree(&place.at("tree")).unwrap();
    place.files.remove_tree(&place.at("none/tree")).unwrap();
    assert_eq!(place.names(""), ["link", "outside"]);
    assert_eq!(place.names("outside"), ["f"]);
}

#[test]
fn free_space_of_what_is_yet_to_be_made() {
    let place = place();
    let free = place.files.free_space(&place.at("not/yet/there")).unwrap();
    assert!(free.bytes > 0);
    assert_ne!(free.inodes, Some(0));
}

#[test]
fn what_is_reserved_for_root_is_not_free() {
    let about = rustix::fs::statvfs("/").unwrap();
    let about = StatVfs { f_frsize: 4096, f_bfree: 100, f_bavail: 30, f_files: 9, f_ffree: 5, f_favail: 2, ..about };
    assert_eq!(left(&about), FreeSpace { bytes: 30 * 4096, inodes: Some(2) });
    assert_eq!(left(&StatVfs { f_files: 0, ..about }).inodes, None);
}

#[test]
fn a_lock_excludes_names_its_holder_and_ends_with_him() {
    let place = place();
    let path = place.at("run/portreeve/locks/bakery_pro");
    assert_eq!(place.files.holder(&path).unwrap(), None);
    let held = place.files.lock(&path, Duration::ZERO).unwrap();
    let refused = place.files.lock(&path, Duration::from_millis(60)).unwrap_err();
    let ourselves = format!("(pid {}, since ", std::process::id());
    assert!(refused.to_string().starts_with("portreeve ") && refused.to_string().contains(&ourselves), "{refused}");
    let holder = place.files.holder(&path).unwrap().unwrap();
    assert!(holder.contains(&ourselves) && holder.ends_with(" UTC)"), "{holder}");
    drop(held);
    assert_eq!(place.files.holder(&path).unwrap(), None);
    let others = fs::File::open(&path).unwrap();
    others.lock().unwrap();
    assert!(place.files.lock(&path, Duration::from_millis(60)).is_err());
    // A lock file that was removed is not the lock any more.
    fs::remove_file(&path).unwrap();
    drop(place.files.lock(&path, Duration::ZERO).unwrap());
}

/// A process that was killed left its words in the file; they are nobody's.
#[test]
fn what_a_dead_holder_wrote_holds_nothing() {
    let place = place();
    let path = place.at("locks/bakery_pro.lock");
    drop(place.files.lock(&path, Duration::ZERO).unwrap());
    fs::write(&path, "portreeve agent\x1b (pid 1, since 12:00:00 UTC)").unwrap();
    assert_eq!(place.files.holder(&path).unwrap(), None);
    let _held = place.files.lock(&path, Duration::ZERO).unwrap();
    assert!(place.files.holder(&path).unwrap().unwrap().contains(&format!("(pid {},", std::process::id())));
    fs::write(&path, "spoilt\x1b").unwrap();
    assert_eq!(place.files.holder(&path).unwrap().unwrap(), "spoilt");
}

#[test]
fn a_waiter_gets_the_lock_once_it_is_free_and_leaves_when_cancelled() {
    let place = place();
    let path = place.at("locks/x");
    let held = place.files.lock(&path, Duration::ZERO).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| place.files.lock(&path, Duration::from_mins(1)).map(drop));
        drop(held);
        waiter.join().unwrap().unwrap();
        let _held = place.files.lock(&path, Duration::ZERO).unwrap();
        let waiter = scope.spawn(|| place.files.lock(&path, Duration::from_mins(1)).map(drop));
        place.cancel.store(true, Ordering::Relaxed);
        assert!(matches!(waiter.join().unwrap(), Err(HostError::Locked { .. })));
    });
}

/// Threads of one process among themselves, and beside one that shares the files with them.
#[test]
fn whichever_of_several_locks_is_free_is_taken_and_handed_on() {
    let place = place();
    let paths = [place.at("locks/1"), place.at("locks/2")];
    let paths = [&*paths[0], &*paths[1]];
    let take = |files: &RealFiles, wait| files.lock_one_of(&paths, wait);
    let first = take(&place.files, Duration::ZERO).unwrap();
    let _second = take(&place.files, Duration::ZERO).unwrap();
    assert!(matches!(take(&place.files, Duration::from_millis(20)), Err(HostError::Locked { .. })));
    let layout = Layout::new(Root::at(&place.top));
    let other = Parts::open(&layout, Arc::default()).unwrap().files;
    assert!(matches!(take(&other, Duration::from_millis(20)), Err(HostError::Locked { .. })));
    std::thread::scope(|scope| {
        let waiters: Vec<_> =
            (0..8).map(|_| scope.spawn(|| take(&place.files, Duration::from_mins(1)).map(drop))).collect();
        let outsider = scope.spawn(|| take(&other, Duration::from_mins(1)).map(drop));
        drop(first);
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        outsider.join().unwrap().unwrap();
    });
}

#[test]
fn a_runtime_directory_elsewhere_is_written_too() {
    let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = elsewhere.path().join("pr");
    let layout = Layout::with_runtime(Root::at(root.path()), runtime.clone());
    let parts = Parts::open(&layout, Arc::default()).unwrap();
    parts.files.raise_flag(&runtime.join("flag")).unwrap();
    parts.files.put(&runtime.join("link"), &Node::Link("b/s".into())).unwrap();
    assert_eq!(parts.files.list(&runtime).unwrap(), ["flag", "link"]);
    fs::write(runtime.join(".flag.new-1-1"), "").unwrap();
    parts.files.sweep(&runtime, Makers::Sweeper).unwrap();
    assert_eq!(parts.files.list(&runtime).unwrap(), ["flag", "link"], "a base is swept like any directory");
    // Below a root everything stays our own.
    parts.files.put(&root.path().join("x"), &file(b"")).unwrap();
    let Found::File { owner, .. } = parts.files.look(&root.path().join("x")).unwrap() else { panic!() };
    assert_eq!(owner, parts.files.authority().own());
}

#[test]
fn a_link_is_put_across_file_systems_beside_its_target() {
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = tempfile::tempdir_in("/var/tmp").unwrap();
    let layout = Layout::with_runtime(Root::at(root.path()), shm.path().to_owned());
    let files = Parts::with_authority(&layout, Authority::Machine, Arc::default()).unwrap().files;
    files.put(&shm.path().join("web.sock"), &Node::Link("a/s".into())).unwrap();
    files.put(&shm.path().join("web.sock"), &Node::Link("b/s".into())).unwrap();
    assert_eq!(files.look(&shm.path().join("web.sock")).unwrap(), Found::Link("b/s".into()));
    assert_eq!(files.list(shm.path()).unwrap(), ["web.sock"]);
}
