//! Static files: a directory for each release, which goes with its tree, and a union over releases of the same files, because a
//! page of the old release still asks for its own.
//!
//! Each generation's note says what its release asks for. A file goes when no kept generation names it, none that was replaced
//! within [`DAYS`] does, and it has been there for so long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::blame::{came_to_its_end, host_succeed};
use super::sweep::{Home, is_whole, take_marked};
use super::{Context, Failure, Phase, as_app};
use crate::desired::Generation;
use crate::model::{Boot, EnvLayout, EnvName, GenerationNumber, Identity, Node};
use crate::observed::Owners;

/// How long after its end the assets of a release can be had.
const DAYS: i64 = 30;
/// What Django's `ManifestStaticFilesStorage` writes beside the files (`manifest_name`).
const MANIFEST: &str = "staticfiles.json";
/// Where `entry.py` has it written, below the release's own static files: no visitor sees it.
const UNSEEN: &str = ".portreeve";
/// No manifest and no note is larger.
const LIMIT: u64 = 8 * 1024 * 1024;
/// As `ManifestStaticFilesStorage` names them: 12 digits of a hash before the suffix.
const HASHED: &str = r".*\.[0-9a-f]{12}\.[^/]+";
/// Arguments of one `rm`.
const AT_ONCE: usize = 200;

/// What a generation's release asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// When the generation was made.
    at: Timestamp,
    /// By whose clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<Boot>,
    /// Names below the directory of static files; `None` when there was no manifest to tell them.
    names: Option<BTreeSet<String>>,
}

/// The part of Django's manifest that counts.
#[derive(Deserialize)]
struct Manifest {
    /// From a file's own name to the one with its hash.
    paths: BTreeMap<String, String>,
}

/// Makes a release's own directory. True when all is there already, and may be what serves. What is there and not whole was left
/// by a killed pass: Django would not write a file again that was cut off, because it is newer than its source, or has its hash.
pub fn prepare(cx: &Context<'_>, own: &Path, owners: Owners) -> Result<bool, Failure> {
    let (files, fail) = (cx.host.files(), Failure::on_host(Phase::Build));
    if is_whole(cx, own)? && !files.list(own).map_err(&fail)?.is_empty() {
        return Ok(true);
    }
    take_marked(cx, Some(owners.app), own)?;
    let owner = Identity { gid: owners.web_group, ..owners.app };
    files.make_directory(own, 0o2750, owner).map_err(&fail)?;
    Ok(false)
}

/// Adds what a release collected to the files of all releases: a page of it may be open for longer than it serves. Each name by
/// one rename, also over what was cut off there.
pub fn share(cx: &Context<'_>, own: &Path, app: Identity, paths: &EnvLayout) -> Result<(), Failure> {
    let (files, fail) = (cx.host.files(), Failure::on_host(Phase::Build));
    if files.list(own).map_err(&fail)?.is_empty() {
        return Ok(());
    }
    // A file that a power cut emptied under its new name would never be replaced.
    files.sync_all(own).map_err(&fail)?;
    let (from, to) = (own.to_string_lossy(), paths.static_files());
    let which = ["-mindepth", "1", "-maxdepth", "1", "!", "-name", UNSEEN];
    let link = ["-exec", "cp", "-rlf", "-t", &to.to_string_lossy(), "--", "{}", "+"];
    let exit = as_app::run(cx, app, "find", &[&[&*from], &which[..], &link].concat())?;
    // A name that was a file of an earlier release can't be a directory's there: only pages from before ask for it.
    if came_to_its_end(&exit) {
        return Ok(());
    }
    host_succeed(exit, Phase::Build, &format!("{} can't have the release's static files too", to.display()))
}

/// Writes down what a generation asks for, after `collectstatic`.
pub fn remember(cx: &Context<'_>, generation: &Generation, paths: &EnvLayout) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Build);
    let own = paths.static_of(&generation.wanted.release, &generation.wanted.digest);
    // A storage that takes no place for its manifest has it with its files; one that knows nothing of our settings, elsewhere.
    let manifest = [own.join(UNSEEN), own, paths.static_files()].iter().find_map(|place| manifest(cx, place));
    let names = manifest.map(|manifest| manifest.paths.into_iter().flat_map(<[String; 2]>::from).collect());
    let bytes =
        serde_json::to_vec(&Note { at: generation.at, boot: generation.boot.clone(), names }).unwrap_or_default();
    let path = cx.layout.static_note(&generation.name, generation.number);
    cx.host.files().put(&path, &Node::File { bytes, mode: 0o600, owner: Identity::ROOT }).map_err(&fail)
}

/// The application's own file: one that can't be read only means that nothing is collected.
fn manifest(cx: &Context<'_>, place: &Path) -> Option<Manifest> {
    let bytes = cx.host.files().read(&place.join(MANIFEST), LIMIT).ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// Removes old files that nobody asks for any more, and the notes that nobody needs.
pub fn collect(
    cx: &Context<'_>,
    name: &EnvName,
    home: &Home,
    kept: &BTreeSet<GenerationNumber>,
    refused: &BTreeSet<GenerationNumber>,
) -> Result<(), Failure> {
    let notes = notes(cx, name)?;
    let (stay, go) = split(&notes, kept, refused, cx.host.clock().now());
    if let (Some(asked), Some(app)) = (asked(&notes, &stay, kept), home.app) {
        remove_others(cx, app, &home.paths.static_files(), &asked)?;
    }
    for number in go {
        cx.host.files().remove(&cx.layout.static_note(name, number)).map_err(Failure::on_host(Phase::Verify))?;
    }
    Ok(())
}

type Notes = BTreeMap<GenerationNumber, Note>;

fn notes(cx: &Context<'_>, name: &EnvName) -> Result<Notes, Failure> {
    let fail = Failure::on_host(Phase::Verify);
    let files = cx.host.files();
    let names = files.list(&cx.layout.env_generations(name)).map_err(&fail)?;
    let (mut notes, now) = (Notes::new(), cx.boot());
    for number in names.iter().filter_map(|name| name.strip_suffix(".static")?.parse().ok()) {
        let bytes = files.read(&cx.layout.static_note(name, number), LIMIT).map_err(&fail)?;
        let note: Option<Note> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let note = note.unwrap_or(Note { at: Timestamp::UNIX_EPOCH, boot: None, names: None });
        notes.insert(number, Note { at: now.by_now(note.boot.as_ref(), note.at), ..note });
    }
    Ok(notes)
}

/// Notes that still count, and those that don't. A release ends when the next one that held is made.
fn split(
    notes: &Notes,
    kept: &BTreeSet<GenerationNumber>,
    refused: &BTreeSet<GenerationNumber>,
    now: Timestamp,
) -> (Vec<GenerationNumber>, Vec<GenerationNumber>) {
    let held = |number: &GenerationNumber| !refused.contains(number);
    let just_ended = |number: GenerationNumber| {
        let mut later = notes.range(number + 1..).filter(|(number, _)| held(number));
        later.next().is_none_or(|(_, next)| now.duration_since(next.at) < SignedDuration::from_hours(24 * DAYS))
    };
    notes.keys().partition(|&number| kept.contains(number) || held(number) && just_ended(*number))
}

/// All that is asked for; `None` when a kept generation's note doesn't say.
fn asked(notes: &Notes, stay: &[GenerationNumber], kept: &BTreeSet<GenerationNumber>) -> Option<BTreeSet<String>> {
    let tell = |number: &GenerationNumber| notes.get(number).is_some_and(|note| note.names.is_some());
    let all = kept.iter().all(tell) && !kept.is_empty();
    all.then(|| stay.iter().filter_map(|number| notes[number].names.clone()).flatten().collect())
}

fn remove_others(cx: &Context<'_>, app: Identity, root: &Path, asked: &BTreeSet<String>) -> Result<(), Failure> {
    let place = root.to_string_lossy();
    let days = format!("+{}", DAYS - 1);
    let which = ["-type", "f", "-mtime", &days, "-regextype", "posix-extended", "-regex", HASHED, "-print0"];
    let found = as_app::run(cx, app, "find", &[&[&*place], &which[..]].concat())?.stdout;
    // A name that was cut off at the end of a very long answer is left to the next time.
    let end = found.iter().rposition(|&byte| byte == 0).unwrap_or(0);
    let paths = found[..end].split(|&byte| byte == 0).filter_map(|path| std::str::from_utf8(path).ok());
    let spare: Vec<&str> = paths.filter(|path| is_spare(path, root, asked)).collect();
    for some in spare.chunks(AT_ONCE) {
        as_app::run(cx, app, "rm", &[&["-f", "--"], some].concat())?;
    }
    Ok(())
}

/// Compressed copies (`x.css.gz`) go with what they are copies of.
fn is_spare(path: &str, root: &Path, asked: &BTreeSet<String>) -> bool {
    let Ok(name) = Path::new(path).strip_prefix(root) else { return false };
    let name = name.to_string_lossy();
    let plain = [".gz", ".br"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    !asked.contains(&*name) && !asked.contains(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(days: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * days)
    }

    fn note(day: i64, names: &[&str]) -> Note {
        Note { at: days(day), boot: None, names: Some(names.iter().map(|&name| name.to_owned()).collect()) }
    }

    #[test]
    fn assets_stay_for_a_while_after_their_release_was_replaced() {
        let notes = Notes::from([
            (1, note(0, &["a.1.css"])),
            (2, note(10, &["a.2.css"])),
            (3, note(20, &["broken.css"])),
            (4, note(20, &["a.4.css"])),
            (5, note(50, &["a.5.css"])),
        ]);
        let (kept, refused) = ([4, 5].into(), [3].into());
        let at = |now| split(&notes, &kept, &refused, days(now));
        assert_eq!(at(39), (vec![1, 2, 4, 5], vec![3]));
        assert_eq!(at(40), (vec![2, 4, 5], vec![1, 3]), "generation 2 came 30 days ago");
        assert_eq!(at(500), (vec![4, 5], vec![1, 2, 3]), "what can serve again keeps its files");
        assert_eq!(at(-500).0, [1, 2, 4, 5], "a clock that is wrong takes nothing away");
        let names = asked(&notes, &at(40).0, &kept).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a.2.css", "a.4.css", "a.5.css"]);
    }

    /// Like a fixture of `tests/formats`: never changed. Who could not read it would take for old what visitors still ask for.
    #[test]
    fn a_note_stays_readable() {
        let written = br#"{"at":"2026-11-21T02:41:00Z","boot":{"id":"6e5c3a1e4f0b4c0e8d5c6b7a8f9e0d1c","began":"2026-11-20T00:00:00Z"},"names":["shop/bakery.55e7cbb9ba48.css"]}"#;
        let note: Note = serde_json::from_slice(written).unwrap();
        assert_eq!(serde_json::to_vec(&note).unwrap(), written);
    }

    #[test]
    fn nothing_goes_while_a_kept_generation_does_not_say_what_it_needs() {
        let silent = Note { at: days(0), boot: None, names: None };
        let notes = Notes::from([(1, silent.clone()), (2, note(0, &["a"]))]);
        assert_eq!(asked(&notes, &[1, 2], &[1, 2].into()), None);
        assert_eq!(asked(&notes, &[2], &[2, 3].into()), None, "3 has no note");
        assert_eq!(asked(&notes, &[], &[].into()), None);
        assert!(asked(&notes, &[1, 2], &[2].into()).is_some());
    }

    #[test]
    fn a_compressed_copy_is_as_wanted_as_its_file() {
        let asked: BTreeSet<String> = ["css/a.0123456789ab.css".to_owned(), "b.tar.gz".to_owned()].into();
        let spare = |path| is_spare(path, Path::new("/s"), &asked);
        for wanted in ["/s/css/a.0123456789ab.css", "/s/css/a.0123456789ab.css.gz", "/s/b.tar.gz", "/elsewhere"] {
            assert!(!spare(wanted), "{wanted}");
        }
        for old in ["/s/css/a.0123456789ac.css", "/s/css/a.0123456789ac.css.br", "/s/a.0123456789ab.css"] {
            assert!(spare(old), "{old}");
        }
    }
}
