//! The root file system below every test host: built once, then shared, read-only, by all of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use portreeve::model::Digest;

use crate::cmd;

/// All that the root file system depends on.
const INPUTS: [&str; 3] =
    [include_str!("base.sh"), include_str!("uidprobe/setup.py"), include_str!("uidprobe/uidprobe.py")];

/// Where root file systems are kept between runs, and hosts while they live: `PORTREEVE_TESTS`, or a cache directory.
/// It must not be on an overlay, which can't carry another one's upper layer.
pub fn store() -> PathBuf {
    std::env::var_os("PORTREEVE_TESTS").map_or_else(cache, PathBuf::from)
}

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    PathBuf::from(home).join(".cache/portreeve-tests")
}

/// The root file system. The first process to ask builds it, in half a minute or more; others wait for that.
pub fn base() -> PathBuf {
    assert!(rustix::process::geteuid().is_root(), "end-to-end tests boot real hosts, which takes root: `make test`");
    let store = store();
    fs::create_dir_all(&store).expect("the store is made");
    let base = store.join(format!("base-{}", key()));
    if !base.exists() {
        let lock = File::create(store.join("base.lock")).expect("the lock is made");
        lock.lock().expect("the lock is taken");
        if !base.exists() {
            build(&base);
        }
    }
    base
}

fn key() -> String {
    Digest::of(INPUTS.join("\0").as_bytes()).short(16)
}

/// Built beside its place and renamed into it, so that what exists is whole.
fn build(base: &Path) {
    let building = base.with_file_name("building");
    if building.exists() {
        fs::remove_dir_all(&building).expect("what a killed run left is removed");
    }
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/base.sh");
    let recipe = recipe.to_str().expect("a path in UTF-8");
    cmd::run(cmd::command(&[recipe, building.to_str().expect("a path in UTF-8")])).ok();
    fs::rename(&building, base).expect("the root file system is renamed into place");
}
