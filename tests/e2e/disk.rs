//! A disk of a host's own: an ext4 in a file. When its power goes, it loses what nobody synced, as a machine's does: what it
//! has by then is what the kernel has written to the file, and none of what waits in the page cache.

use std::fs;
use std::path::PathBuf;

use crate::cmd;
use crate::traces::Traces;

/// Its size in bytes; the file has holes.
const SIZE: u64 = 4 << 30;

/// Nothing becomes durable by itself while a test runs: names every five minutes instead of five seconds, and a renamed file's
/// content not by its rename (`ext4(5)`, `noauto_da_alloc`), as on other file systems.
const OPTIONS: &str = "loop,commit=300,noauto_da_alloc";

/// Makes it and mounts it where the host's files are.
#[track_caller]
pub fn make(traces: &Traces) {
    fs::create_dir_all(traces.disk()).expect("the host's directory is made");
    fs::File::create(traces.image()).and_then(|file| file.set_len(SIZE)).expect("the disk's file is made");
    run(&["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", &traces.image().display().to_string()]);
    mount(traces);
}

/// What a power cut now would leave of it, unless that is kept already. No process of the host's runs, and nobody has unmounted
/// anything, which would write what is to be lost.
#[track_caller]
pub fn keep_what_is_written(traces: &Traces) {
    if !kept(traces).exists() {
        run(&[
            "cp",
            "--sparse=always",
            "--",
            &traces.image().display().to_string(),
            &kept(traces).display().to_string(),
        ]);
    }
}

/// Mounts what was kept. The old one is unmounted.
#[track_caller]
pub fn come_back(traces: &Traces) {
    fs::rename(kept(traces), traces.image()).expect("the kept file takes the other's place");
    mount(traces);
}

fn kept(traces: &Traces) -> PathBuf {
    traces.image().with_extension("kept")
}

fn mount(traces: &Traces) {
    let (image, place) = (traces.image().display().to_string(), traces.disk().display().to_string());
    run(&["mount", "-t", "ext4", "-o", OPTIONS, &image, &place]);
}

#[track_caller]
fn run(argv: &[&str]) {
    cmd::run(cmd::command(argv)).ok();
}
