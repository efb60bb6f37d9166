//! Whether everything on a machine belongs to one generation. Nothing here asks the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portreeve::desired::{Generation, Listed, Listing};
use portreeve::model::{Digest, GenerationNumber, Layout, Slot, SlotId};

use crate::front::visit;
use crate::machine::State;
use crate::site::{MemoryTrees, SITE, layout, name, paths};
use crate::step::Behaviour;
use crate::storage::{Body, Storage};

/// What is wrong.
pub type Judgement<T> = Result<T, String>;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Judgement<()> {
    if found == wanted { Ok(()) } else { Err(format!("{what} is {found:?}, not {wanted:?}")) }
}

/// What visitors get, whole: the title of the release that answers; `None`: nothing of ours answers.
///
/// It holds at every moment: with the program dead, after a reboot, before any recovery.
pub fn serving(state: &State) -> Judgement<Option<String>> {
    same("nginx runs", &state.front.running, &true)?;
    crate::front::Nginx::configuration(&state.storage, &layout())
        .map_err(|why| format!("nginx would not start: {why}"))?;
    same("the neighbour is served", &state.front.vhost("neighbour.example").is_some(), &true)?;
    let (status, process) = visit(state, SITE);
    let Some(process) = process else { return Ok(None) };
    same("the answer", &status, &if process.code.behaviour == Behaviour::Well { 200 } else { 500 })?;
    let generation = record(&state.storage, &process.generation)?;
    same("the process's code", &process.code.release, &generation.wanted.title())?;
    same("the process's unit", &process.unit, &file(&state.storage, &process.generation.join("unit"))?)?;
    same("the process's variables", &process.env, &file(&state.storage, &process.generation.join("env.conf"))?)?;
    Ok(Some(process.code.release.clone()))
}

/// The directory of the generation that `active` leads to.
pub fn active(state: &State) -> Option<PathBuf> {
    state.storage.real(&layout().active_link(&name()))
}

/// Its number.
pub fn active_number(state: &State) -> Option<GenerationNumber> {
    active(state)?.file_name()?.to_str()?.parse().ok()
}

fn file(storage: &Storage, path: &Path) -> Judgement<Arc<Vec<u8>>> {
    storage.read(path).ok_or_else(|| format!("{} is not there", path.display()))
}

fn record(storage: &Storage, directory: &Path) -> Judgement<Generation> {
    let bytes = file(storage, &directory.join(Generation::FILE))?;
    Generation::parse(&bytes).map_err(|error| format!("{}: {error}", directory.display()))
}

/// Everything at rest belongs to one generation, nothing is half, and nothing is under way. The title of what serves.
pub fn at_rest(state: &State) -> Judgement<Option<String>> {
    leftovers(&state.storage)?;
    settled(state)
}

/// The same, but for what was being built when a program was killed.
pub fn settled(state: &State) -> Judgement<Option<String>> {
    let (layout, storage) = (layout(), &state.storage);
    same("the journal", &storage.names(&layout.journal()), &Vec::new())?;
    let served = serving(state)?;
    let broken = visit(state, SITE).1.is_some_and(|process| process.code.behaviour != Behaviour::Well);
    same("visitors get errors", &broken, &false)?;
    match storage.link_text(&layout.active_link(&name())) {
        None => absent(state, &layout)?,
        Some(text) if text.ends_with("0") => absent_vhost(state)?,
        Some(_) => one_generation(state, &layout)?,
    }
    Ok(served)
}

/// What was being built when a program was killed.
pub fn leftovers(storage: &Storage) -> Judgement<()> {
    none_named(storage, is_half_made)
}

/// A hidden name that is given for as long as something is made or taken away.
pub fn is_half_made(name: &str) -> bool {
    name.starts_with('.') && (name.contains(".new-") || name.contains(".gone-"))
}

/// Trees that are out of the way and about to go.
pub fn set_aside(storage: &Storage) -> Judgement<()> {
    none_named(storage, |name| name.strip_suffix(".gone").is_some())
}

fn none_named(storage: &Storage, like: impl Fn(&str) -> bool) -> Judgement<()> {
    let named = |path: &PathBuf| like(&path.file_name().unwrap_or_default().to_string_lossy());
    let left: Vec<PathBuf> = storage.paths().into_iter().filter(named).collect();
    same("what killed programs left", &left, &Vec::new())
}

fn absent(state: &State, layout: &Layout) -> Judgement<()> {
    absent_vhost(state)?;
    let (storage, name) = (&state.storage, name());
    let mut links = vec![layout.nginx_link(&name), layout.logrotate_link(&name), layout.tmpfiles_link(&name)];
    for slot in Slot::BOTH {
        links.extend([layout.unit_file(&name, slot), layout.wants_link(&name, slot), layout.slot_link(&name, slot)]);
    }
    let there: Vec<_> = links.into_iter().filter(|path| storage.find(path, false).is_some()).collect();
    same("what is left of it", &there, &Vec::new())
}

fn absent_vhost(state: &State) -> Judgement<()> {
    same("its vhost", &state.front.vhost(SITE).is_some(), &false)?;
    same("what runs", &state.services.running().collect::<Vec<_>>(), &Vec::new())
}

fn one_generation(state: &State, layout: &Layout) -> Judgement<()> {
    let (storage, name) = (&state.storage, name());
    let through = layout.active_link(&name);
    let directory = active(state).ok_or("active leads nowhere")?;
    whole(storage, &directory)?;
    let generation = record(storage, &directory)?;
    let slot = generation.slot;
    same("the slot's marker", &storage.exists(&directory.join(format!("slot-{slot}"))), &true)?;
    same("the slot's link", &storage.real(&layout.slot_link(&name, slot)).as_ref(), &Some(&directory))?;
    for (link, file) in [
        (layout.nginx_link(&name), "nginx.conf"),
        (layout.logrotate_link(&name), "logrotate"),
        (layout.tmpfiles_link(&name), "tmpfiles.conf"),
    ] {
        same(file, &storage.link_text(&link), &Some(through.join(file).as_path()))?;
    }
    release(storage, &directory, &generation)?;
    secret(storage, layout, &directory)?;
    within_reach(storage, &directory, &generation)?;
    unit(state, layout, &directory, slot)?;
    other_slot(state, layout, slot.other())?;
    front(state, layout, &directory, slot)
}

/// Every file of the generation has the bytes that it was made with.
fn whole(storage: &Storage, directory: &Path) -> Judgement<()> {
    let listing: Listing = serde_json::from_slice(&file(storage, &directory.join(Listing::FILE))?)
        .map_err(|error| format!("{} has a broken listing: {error}", directory.display()))?;
    for (name, listed) in &listing.0 {
        let path = directory.join(name);
        let found = storage.find(&path, false).map(|id| &storage.inode(id).live);
        let found = found.ok_or_else(|| format!("{} is not there", path.display()))?;
        let as_made = match (listed, &found.body) {
            (Listed::File { sha256, mode, owner }, Body::File(bytes)) => {
                Digest::of(bytes) == *sha256 && found.mode == *mode && found.owner == *owner
            }
            (Listed::Link(text), Body::Link(found)) => text == found,
            _ => false,
        };
        same(&path.display().to_string(), &as_made, &true)?;
    }
    Ok(())
}

/// The release's tree and its packages are all there.
fn release(storage: &Storage, directory: &Path, generation: &Generation) -> Judgement<()> {
    let tree = storage.real(&directory.join("release")).ok_or("the release is not there")?;
    let behaves = file(storage, &tree.join("code"))?;
    for (path, bytes) in MemoryTrees::files(&code(&behaves)?) {
        same(&path.display().to_string(), &*file(storage, &tree.join(&path))?, &bytes)?;
    }
    let bin = paths().venvs().join(&generation.wanted.venv).join("bin");
    for program in ["python", "pip", "gunicorn", "django-admin"] {
        same(program, &*file(storage, &bin.join(program))?, &b"program".to_vec())?;
    }
    // As the web server looks for them: first the release's own, then those of all.
    for place in [directory.join("static"), paths().static_files()] {
        for asset in ["a.css", "b.css"] {
            same(asset, &*file(storage, &place.join(asset))?, &b"css".to_vec())?;
        }
    }
    Ok(())
}

/// The settings hold the key that is kept: with another one everybody would be logged out.
fn secret(storage: &Storage, layout: &Layout, directory: &Path) -> Judgement<()> {
    let kept = file(storage, &layout.secrets(&name()).join("SECRET_KEY"))?;
    let kept = String::from_utf8_lossy(&kept).into_owned();
    for name in ["env.conf", "settings_local.py"] {
        let path = directory.join(name);
        let holds_it = String::from_utf8_lossy(&file(storage, &path)?).contains(&kept);
        same(&format!("the kept secret in {}", path.display()), &holds_it, &true)?;
    }
    Ok(())
}

/// The application gets to all that it needs: nobody's directory on the way is root's alone.
fn within_reach(storage: &Storage, directory: &Path, generation: &Generation) -> Judgement<()> {
    let (paths, slot) = (paths(), layout().slot_link(&name(), generation.slot));
    let release = storage.real(&directory.join("release")).ok_or("the release is not there")?;
    let venv = paths.venvs().join(&generation.wanted.venv);
    let goals = [directory.to_owned(), slot, release, venv, paths.data(), paths.app_log_dir(), paths.backup_dir()];
    for way in goals.iter().flat_map(|goal| goal.ancestors().skip(1)) {
        let id = storage.find(way, true).ok_or_else(|| format!("{} is not there", way.display()))?;
        same(&format!("the mode of {}", way.display()), &(storage.inode(id).live.mode & 0o001), &0o001)?;
    }
    Ok(())
}

fn code(bytes: &[u8]) -> Judgement<crate::services::Code> {
    crate::services::Code::read(&String::from_utf8_lossy(bytes)).ok_or_else(|| "its code is half".to_owned())
}

/// What somebody's editor leaves.
pub const MINE: &[u8] = b"# mine\n";

/// Whether somebody changed a slot's unit. It is put right while the slot serves; beside it nobody reads it.
pub fn is_edited(state: &State, slot: Slot) -> bool {
    state.storage.read(&layout().unit_file(&name(), slot)).is_some_and(|unit| *unit == MINE)
}

/// The slot that does not serve holds a generation whole, or nothing.
fn other_slot(state: &State, layout: &Layout, slot: Slot) -> Judgement<()> {
    let (storage, name) = (&state.storage, name());
    if is_edited(state, slot) {
        return Ok(());
    }
    let wanted = match storage.real(&layout.slot_link(&name, slot)) {
        Some(directory) => Some(file(storage, &directory.join("unit"))?),
        None => None,
    };
    same("the other slot's unit its own", &(storage.read(&layout.unit_file(&name, slot)) == wanted), &true)?;
    let id = SlotId { env: name, slot };
    let known = state.services.unit(&id);
    same("the other slot's unit as systemd knows it", &(known == wanted.as_ref()), &true)?;
    let runs = state.services.process(&id).map(|process| process.generation.clone());
    let leads = storage.real(&layout.slot_link(&id.env, slot));
    same("what runs in the other slot its own", &(runs.is_none() || runs == leads), &true)
}

fn unit(state: &State, layout: &Layout, directory: &Path, slot: Slot) -> Judgement<()> {
    let (storage, name) = (&state.storage, name());
    let wanted = file(storage, &directory.join("unit"))?;
    same("the unit's file", &file(storage, &layout.unit_file(&name, slot))?, &wanted)?;
    same("the boot link", &storage.exists(&layout.wants_link(&name, slot)), &true)?;
    let id = SlotId { env: name, slot };
    same("the unit that systemd knows", &state.services.unit(&id), &Some(&wanted))?;
    let process = state.services.process(&id).ok_or("the slot does not run")?;
    same("what the process runs", &process.generation.as_path(), &directory)
}

fn front(state: &State, layout: &Layout, directory: &Path, slot: Slot) -> Judgement<()> {
    let (storage, name) = (&state.storage, name());
    let wanted = file(storage, &directory.join("nginx.conf"))?;
    same("the vhost that nginx serves", &state.front.vhost(SITE), &Some(&wanted))?;
    let socket = PathBuf::from(format!("{slot}/s"));
    same("where nginx is led", &storage.link_text(&layout.web_socket(&name)), &Some(socket.as_path()))
}
