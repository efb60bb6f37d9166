//! The mirrors of the applications' repositories during one pass: what they lack is brought side by side, so that a server that
//! stalls holds up nobody's but its own, and once.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};

use crate::model::CommitId;
use crate::plan::Want;
use crate::source::{self, Address, Mirror, Objects, Resolved, SourceError, Via};
use crate::transaction::lock::{Place, mirror};
use crate::transaction::{Context, Event, Report, chain};

use super::App;

/// What was to be brought from a repository, and what came of it.
type Brought = Vec<(source::Wanted, Result<CommitId, Want>)>;

/// By the addresses of their repositories.
pub(super) struct Mirrors<'a> {
    app: &'a App,
    cx: &'a Context<'a>,
    opened: BTreeMap<String, Rc<Objects>>,
    brought: BTreeMap<String, Brought>,
}

impl<'a> Mirrors<'a> {
    pub fn new(app: &'a App, cx: &'a Context<'a>) -> Self {
        Self { app, cx, opened: BTreeMap::new(), brought: BTreeMap::new() }
    }

    /// What has to be brought, unless it is here.
    pub fn lacks(&mut self, address: &str, resolved: &Resolved) -> Option<source::Wanted> {
        self.holding(address, &resolved.commit).is_none().then(|| wanted(resolved))
    }

    /// The commit, brought now if nobody did: a branch may have moved on since it was looked at. And its repository.
    pub fn get(&mut self, address: &str, resolved: &Resolved) -> Result<(CommitId, Rc<Objects>), Want> {
        if let Some(objects) = self.holding(address, &resolved.commit) {
            return Ok((resolved.commit.clone(), objects));
        }
        let wanted = wanted(resolved);
        if self.known(address, &wanted).is_none() {
            self.bring(BTreeMap::from([(address.to_owned(), vec![wanted.clone()])]));
        }
        let known = self.known(address, &wanted);
        let commit = known.unwrap_or_else(|| Err(Want::Unknown(format!("{address} was not fetched"))))?;
        Ok((commit, self.open(address).map_err(|error| unreachable(&error))?))
    }

    /// Brings all of it, from each repository by itself.
    pub fn bring(&mut self, missing: BTreeMap<String, Vec<source::Wanted>>) {
        let (app, cx) = (self.app, self.cx);
        let (tell, heard) = channel();
        let brought: Vec<(String, Brought)> = std::thread::scope(|scope| {
            let bring = |(address, wanted): (String, Vec<source::Wanted>)| {
                let report = Notes(tell.clone());
                scope.spawn(move || {
                    let brought = bring(app, &app.context(&report), &address, wanted);
                    (address, brought)
                })
            };
            let under_way: Vec<_> = missing.into_iter().map(bring).collect();
            drop(tell);
            // Until the last of them is done.
            for text in heard {
                cx.report.event(&Event::Note { text: &text });
            }
            under_way.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        for (address, brought) in brought {
            // What is open does not see packs that came later.
            self.opened.remove(&address);
            self.brought.entry(address).or_default().extend(brought);
        }
    }

    /// What came of it in this pass. A server that did not answer is not asked again.
    fn known(&self, address: &str, wanted: &source::Wanted) -> Option<Result<CommitId, Want>> {
        let brought = self.brought.get(address)?;
        let this = brought.iter().find(|(which, _)| which == wanted);
        let lost = || brought.iter().find(|(_, what)| matches!(what, Err(Want::Unknown(_))));
        this.or_else(lost).map(|(_, what)| what.clone())
    }

    /// The mirror's objects, when the commit is among them.
    fn holding(&mut self, address: &str, commit: &CommitId) -> Option<Rc<Objects>> {
        self.open(address).ok().filter(|objects| objects.contains(commit))
    }

    fn open(&mut self, address: &str) -> source::Result<Rc<Objects>> {
        if let Some(objects) = self.opened.get(address) {
            return Ok(Rc::clone(objects));
        }
        let objects = Rc::new(Objects::open(&self.app.layout.source_clone(address))?);
        self.opened.insert(address.to_owned(), Rc::clone(&objects));
        Ok(objects)
    }
}

/// A passing trouble of the network leaves the wish unknown; anything else is for a person.
pub(super) fn unreachable(error: &SourceError) -> Want {
    let words = format!("{}; {}", chain(error), error.cure());
    if error.is_transient() { Want::Unknown(words) } else { Want::Unusable(words) }
}

fn wanted(resolved: &Resolved) -> source::Wanted {
    match &resolved.via {
        Via::Tag(name) => source::Wanted::Tag(name.clone()),
        Via::Branch(name) => source::Wanted::Branch(name.clone()),
        Via::Commit => source::Wanted::Commit(resolved.commit.clone()),
    }
}

/// One after the other, so that a name that leads nowhere spoils no other; what did not answer once is not asked for the rest.
fn bring(app: &App, cx: &Context<'_>, address: &str, wanted: Vec<source::Wanted>) -> Brought {
    let clone = app.layout.source_clone(address);
    let taken = mirror(cx, Place::Mirror { clone: &clone, of: address }, app.wait);
    let mut lost = taken.as_ref().err().map(|busy| Want::Unknown(chain(busy)));
    let mut bring = |wanted: &source::Wanted| {
        lost.clone().map_or(Ok(()), Err)?;
        let address = Address::parse(address, app.local).map_err(|error| Want::Unusable(error.to_string()))?;
        let fetched = Mirror::new(clone.clone(), address).fetch(&app.git, std::slice::from_ref(wanted));
        let fetched = fetched.map_err(|error| unreachable(&error)).and_then(|fetched| {
            fetched.into_iter().next().ok_or_else(|| Want::Unknown("git fetched nothing".to_owned()))
        });
        lost = fetched.as_ref().err().filter(|want| matches!(want, Want::Unknown(_))).cloned();
        fetched
    };
    wanted.into_iter().map(|wanted| (wanted.clone(), bring(&wanted))).collect()
}

/// Hands notes to the thread that may tell them.
struct Notes(Sender<String>);

impl Report for Notes {
    fn event(&self, event: &Event<'_>) {
        if let Event::Note { text } = event {
            // Nobody listens once all is brought.
            self.0.send((*text).to_owned()).ok();
        }
    }
}
