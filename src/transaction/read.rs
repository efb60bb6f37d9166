//! Gathers what is on the host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Context, Failure, Phase, ground, render};
use crate::desired::{Generation, Listed, Listing};
use crate::host::{Files, HostError};
use crate::model::{Digest, EnvName, Found, GenerationNumber, Node, Service, Slot, SlotId};
use crate::observed::{Damaged, Difference, Drift, Expectation, Installed, Part, Removed, expectations};
use crate::policy::{FailureClass, Standing};

/// No file of ours is larger.
pub(super) const LIMIT: u64 = 8 * 1024 * 1024;

/// The environments of which the host holds something.
pub fn installed_names(cx: &Context<'_>) -> Result<Vec<EnvName>, HostError> {
    let names = cx.host.files().list(&cx.layout.active())?;
    Ok(names.iter().filter_map(|name| EnvName::parse_flat(name).ok()).collect())
}

/// Where an environment's commit point leads; `None`: nothing of it is here. 0: absent.
pub fn active(cx: &Context<'_>, name: &EnvName) -> Result<Option<GenerationNumber>, HostError> {
    number_behind(cx.host.files(), &cx.layout.active_link(name))
}

/// What the service manager says of one environment's slots: to ask for all would cost more with each other environment.
pub fn services_of(cx: &Context<'_>, name: &EnvName) -> Result<BTreeMap<SlotId, Service>, HostError> {
    let mut services = BTreeMap::new();
    for slot in Slot::BOTH {
        let id = SlotId { env: name.clone(), slot };
        if let Some(service) = cx.host.services().service(&id)? {
            services.insert(id, service);
        }
    }
    Ok(services)
}

/// One environment as it is. `services` is what the service manager said of all slots.
pub fn installed(cx: &Context<'_>, name: &EnvName, services: &BTreeMap<SlotId, Service>) -> Result<Installed, Failure> {
    let fail = Failure::on_host(Phase::Recover);
    let files = cx.host.files();
    let active = active(cx, name).map_err(&fail)?;
    let mut installed = Installed { active, ..Installed::nothing(name.clone()) };
    installed.newest = newest(files, &cx.layout.env_generations(name)).map_err(&fail)?;
    for slot in Slot::BOTH {
        if let Some(number) = number_behind(files, &cx.layout.slot_link(name, slot)).map_err(&fail)? {
            installed.slots.insert(slot, number);
        }
        if let Some(service) = services.get(&SlotId { env: name.clone(), slot }) {
            installed.services.insert(slot, *service);
        }
    }
    installed.raised = raised(cx, name).map_err(&fail)?;
    installed.kept_down = files.look(&cx.layout.stopped_flag(name)).map_err(&fail)? != Found::Absent;
    installed.masked = masked(cx, &installed).map_err(&fail)?;
    if active.is_none() {
        installed.active = led_to(cx, &installed).map_err(&fail)?;
    }
    if active == Some(0) {
        installed.removed = removed(cx, name)?;
    }
    if let Some(number) = installed.active.filter(|&number| number > 0) {
        installed.generation = read_generation(cx, name, number)?;
        if installed.generation.is_none() {
            installed.damaged = Some(damaged(cx, &installed, number).map_err(&fail)?);
        }
    }
    if let Some(generation) = &installed.generation {
        let lost = active.is_none().then(|| commit_point(cx, generation));
        installed.drift = lost.into_iter().chain(drift(cx, generation)?).collect();
    }
    Ok(installed)
}

/// A generation whose record can't be read has its slot's marker beside it, and its slot's link leads to it.
fn damaged(cx: &Context<'_>, installed: &Installed, number: GenerationNumber) -> Result<Damaged, HostError> {
    let directory = cx.layout.generation(&installed.name, number);
    let mut slots =
        installed.slots.iter().filter(|&(_, led)| *led == number).map(|(slot, _)| *slot).collect::<BTreeSet<_>>();
    for slot in Slot::BOTH {
        if cx.host.files().look(&directory.join(format!("slot-{slot}")))? != Found::Absent {
            slots.insert(slot);
        }
    }
    let slot = slots.first().copied().filter(|_| slots.len() == 1);
    Ok(Damaged { number, record: directory.join(Generation::FILE), slot })
}

/// The generation of the slot that visitors are led to: what was active, where somebody removed the commit point.
fn led_to(cx: &Context<'_>, installed: &Installed) -> Result<Option<GenerationNumber>, HostError> {
    for (slot, number) in &installed.slots {
        let socket = format!("{slot}/s");
        if cx.host.files().holds_link(&cx.layout.web_socket(&installed.name), Path::new(&socket))? {
            return Ok(Some(*number));
        }
    }
    Ok(None)
}

/// The commit point, which is gone; nginx reads its vhost through it.
fn commit_point(cx: &Context<'_>, generation: &Generation) -> Drift {
    let (name, part) = (&generation.name, Part::Vhost);
    let state = Listed::Link(Context::active_target(name, generation.number));
    let expected = Expectation { path: cx.layout.active_link(name), state, part };
    Drift { expected, found: Difference::Missing }
}

/// The note that ended a removal; one that is damaged is none, and the removal is ended again.
fn removed(cx: &Context<'_>, name: &EnvName) -> Result<Option<Removed>, Failure> {
    let path = cx.layout.removed_note(name);
    let bytes = cx.host.files().read(&path, LIMIT).map_err(Failure::on_host(Phase::Recover))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let note = Removed::parse(&path, &bytes)?;
    Ok(note.map(|note| note.by(&cx.boot())))
}

fn raised(cx: &Context<'_>, name: &EnvName) -> Result<BTreeSet<Slot>, HostError> {
    let mut raised = BTreeSet::new();
    for slot in Slot::BOTH {
        if cx.host.files().look(&cx.layout.run_flag(name, slot))? != Found::Absent {
            raised.insert(slot);
        }
    }
    Ok(raised)
}

/// A mask is a link to /dev/null (`systemctl mask`, with or without `--runtime`), also of a unit that is not loaded, and also
/// where a unit of ours outranks it: the operator has said what he wants. Others only the service manager knows of.
fn masked(cx: &Context<'_>, installed: &Installed) -> Result<BTreeSet<Slot>, HostError> {
    let mut masked: BTreeSet<Slot> =
        installed.services.iter().filter(|(_, service)| service.masked).map(|(slot, _)| *slot).collect();
    for slot in Slot::BOTH {
        let unit = cx.layout.unit_name(&installed.name, slot);
        for directory in [cx.layout.systemd_units(), cx.layout.systemd_runtime_units()] {
            if cx.host.files().look(&directory.join(&unit))? == Found::Link("/dev/null".into()) {
                masked.insert(slot);
            }
        }
    }
    Ok(masked)
}

/// The generation that a link leads to.
pub fn number_behind(files: &dyn Files, link: &Path) -> Result<Option<GenerationNumber>, HostError> {
    Ok(match files.look(link)? {
        Found::Link(target) => target.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()),
        _ => None,
    })
}

/// The highest number that was given away, also to an attempt of which only the mark is left.
fn newest(files: &dyn Files, directory: &Path) -> Result<GenerationNumber, HostError> {
    let number = |name: &String| name.strip_suffix(".refused").unwrap_or(name).parse().ok();
    Ok(files.list(directory)?.iter().filter_map(number).max().unwrap_or(0))
}

/// A generation's record; `None` when it is gone or damaged.
pub fn read_generation(
    cx: &Context<'_>,
    name: &EnvName,
    number: GenerationNumber,
) -> Result<Option<Generation>, Failure> {
    let path = cx.layout.generation(name, number).join(Generation::FILE);
    let bytes = cx.host.files().read(&path, LIMIT).map_err(Failure::on_host(Phase::Recover))?;
    match bytes.map(|bytes| Generation::parse(&bytes)) {
        Some(Ok(generation)) => Ok(Some(generation.by(cx.boot()))),
        Some(Err(error @ crate::desired::GenerationError::Newer(_))) => {
            let cause = format!("{}: {error}", path.display());
            Err(Failure::new(FailureClass::Host, Phase::Recover, cause))
        }
        Some(Err(crate::desired::GenerationError::Damaged(_))) | None => Ok(None),
    }
}

/// Holds and quarantine; no record is a clean one. One that can't be read keeps the environment as it is.
pub fn standing(cx: &Context<'_>, name: &EnvName) -> Result<Standing, Failure> {
    let path = cx.layout.standing(name);
    let bytes = cx.host.files().read(&path, LIMIT).map_err(Failure::on_host(Phase::Recover))?;
    let Some(bytes) = bytes else { return Ok(Standing::default()) };
    Standing::parse(&bytes, &cx.boot()).map_err(|error| {
        let cause = format!("{}: {}", path.display(), super::chain(&error));
        Failure::new(FailureClass::Host, Phase::Recover, cause)
    })
}

/// Whether a generation was tried and never held.
pub fn was_refused(cx: &Context<'_>, name: &EnvName, number: GenerationNumber) -> Result<bool, Failure> {
    let found =
        cx.host.files().look(&cx.layout.refused_mark(name, number)).map_err(Failure::on_host(Phase::Recover))?;
    Ok(found != Found::Absent)
}

/// The generation that an environment's commit point leads to; `None` also where that can't be read.
pub fn serving(cx: &Context<'_>, name: &EnvName) -> Option<Generation> {
    let number = active(cx, name).ok()??;
    read_generation(cx, name, number).ok()?
}

/// A generation's listing; `None` when it is gone or damaged.
pub fn listing(cx: &Context<'_>, generation: &Generation) -> Result<Option<Listing>, Failure> {
    let path = cx.directory(generation).join(Listing::FILE);
    let bytes = cx.host.files().read(&path, LIMIT).map_err(Failure::on_host(Phase::Recover))?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The same, made again where every file is as this version renders it: then that is how they were made.
pub fn listing_again(cx: &Context<'_>, generation: &Generation) -> Result<Option<Listing>, Failure> {
    let fail = Failure::on_host(Phase::Recover);
    let (files, directory) = (cx.host.files(), cx.directory(generation));
    // Rendering would make a missing key, and looking makes nothing.
    if ground::existing_secret(cx, &generation.name).map_err(&fail)?.is_none() {
        return Ok(None);
    }
    let owners = ground::owners(cx, &generation.wanted)?;
    let mut nodes = render::nodes(cx, generation, owners)?;
    // The record was read, so it is whole; rendered again it tells its times by another clock.
    let bytes = files.read(&directory.join(Generation::FILE), LIMIT).map_err(&fail)?.unwrap_or_default();
    nodes.insert(Generation::FILE.to_owned(), Node::File { bytes, mode: 0o600, owner: owners.root });
    let listing = render::listing(&nodes);
    for (name, state) in &listing.0 {
        let expected = Expectation { path: directory.join(name), state: state.clone(), part: Part::Link };
        if difference(files, &expected).map_err(&fail)?.is_some() {
            return Ok(None);
        }
    }
    Ok(Some(listing))
}

/// Every path that the generation is responsible for; its listing only where that can't be read.
pub fn expected(cx: &Context<'_>, generation: &Generation) -> Result<Vec<Expectation>, Failure> {
    let owners = ground::owners(cx, &generation.wanted)?;
    let all =
        |listing: &Listing| expectations(&cx.paths(&generation.wanted), cx.facts.manager, owners, generation, listing);
    if let Some(listing) = listing(cx, generation)? {
        return Ok(all(&listing));
    }
    let again = listing_again(cx, generation)?;
    // Bytes that nobody can make again are like no others: the repair says so.
    let sha256 = Digest::of(&again.as_ref().map_or_else(|| b"unknown".to_vec(), Listing::to_bytes));
    let state = Listed::File { sha256, mode: 0o600, owner: owners.root };
    let itself = Expectation { path: cx.directory(generation).join(Listing::FILE), state, part: Part::Link };
    Ok(all(&again.unwrap_or_default()).into_iter().chain([itself]).collect())
}

fn drift(cx: &Context<'_>, generation: &Generation) -> Result<Vec<Drift>, Failure> {
    let files = cx.host.files();
    let mut drift = Vec::new();
    for expected in expected(cx, generation)? {
        if let Some(found) = difference(files, &expected).map_err(Failure::on_host(Phase::Recover))? {
            drift.push(Drift { expected, found });
        }
    }
    Ok(drift)
}

/// How one path differs from what is expected of it.
pub fn difference(files: &dyn Files, expected: &Expectation) -> Result<Option<Difference>, HostError> {
    let digest = || Ok(files.read(&expected.path, LIMIT)?.map(|bytes| Digest::of(&bytes)));
    expected.compare(files.look(&expected.path)?, digest)
}
