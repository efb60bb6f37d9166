//! Looks at the repository and at the host, and decides; changes nothing but our mirrors of git repositories.

mod asked;
mod claims;
mod deploy;
mod environment;

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::{self, Notify, Tree};
use crate::model::{Capability, CommitId, EnvName, PortRange};
use crate::plan::{Action, EnvPlan, Plan};
use crate::source::{self, CommitInfo, Refs};
use crate::transaction::lock::{Place, mirror};
use crate::transaction::{self, Context, Failure, Phase, chain};

use self::asked::Asked;
use self::deploy::Deploy;
use self::environment::{Judge, Moment, look};
use super::App;
use super::floor::Followed;

pub use self::deploy::{Trouble, deploy_tree};

/// A plan and what it was made from.
#[derive(Debug)]
pub struct Survey {
    /// What to do.
    pub plan: Plan,
    /// The tip's message, author and time.
    pub commit: Option<CommitInfo>,
    /// The tip's files and every complaint about them.
    pub manifests: Option<(Tree, manifest::Diagnostics)>,
    /// Why the repository could not be used.
    pub trouble: Option<Trouble>,
    /// The blocks of ports that are asked for; `None`: what is reserved stays so, by a kernel that can't be told, or for a
    /// repository that can't be used, of which it is not known what it reserves.
    pub ports: Option<Vec<PortRange>>,
    /// The environments for which the tip counts: from now on they don't go back below it.
    pub followed: Vec<Followed>,
    /// What was found in the applications' repositories that could be looked at.
    pub refs: BTreeMap<String, Refs>,
    /// Who is told of a change; `None` while that is not known, and where the tip does not count for all: then it stays as it was.
    pub notify: Option<Notify>,
}

/// Looks at everything and decides about `only` these environments, or about all.
pub fn survey(app: &App, cx: &Context<'_>, only: &BTreeSet<EnvName>) -> Result<Survey, Failure> {
    cx.report.event(&super::pass::LOOKING);
    survey_at(app, cx, only, None)
}

/// The same, where the deploy repository was looked at already: one connection a pass.
pub(super) fn survey_at(
    app: &App,
    cx: &Context<'_>,
    only: &BTreeSet<EnvName>,
    seen: Option<source::Result<CommitId>>,
) -> Result<Survey, Failure> {
    let installed = transaction::installed_names(cx).map_err(Failure::on_host(Phase::Recover))?;
    let (deploy, asked) = ask(app, cx, only, seen, &installed);
    let moment = Moment::now(cx)?;
    let (mut asked, trouble) = match asked {
        Ok(asked) => (asked, None),
        Err(trouble) => (Asked::default(), Some(trouble)),
    };
    if let Some(trouble) = &trouble {
        asked.wants.extend(installed.iter().map(|name| (name.clone(), trouble.want())));
    }
    asked.wants.retain(|name, _| only.is_empty() || only.contains(name));
    let judge = deploy.as_ref().filter(|_| trouble.is_none());
    let floors = std::mem::take(&mut asked.floors);
    let judge = judge.map(|deploy| Judge { deploy, branch: &app.settings.branch, floors });
    let (mut environments, mut followed) = (Vec::new(), Vec::new());
    // A tip that does not count for somebody here silences nobody.
    let mut for_all = only.is_empty();
    for (name, want) in std::mem::take(&mut asked.wants) {
        let moved = asked.moved.remove(&name);
        environments.push(match look(app, cx, (&name, want, moved), judge.as_ref(), &moment) {
            Ok((plan, follows)) => {
                if follows.is_none() {
                    for_all = false;
                    asked.ports.remove(&name);
                }
                followed.extend(follows);
                plan
            }
            Err(failure) => unreadable(name, failure.cause),
        });
    }
    let Asked { ports, refs, .. } = asked;
    let kept = trouble.is_none() && cx.host.capabilities().has(Capability::Kernel);
    let ports = kept.then(|| ports.into_values().collect());
    let said = deploy.as_ref().filter(|_| for_all).and_then(|deploy| deploy.repository.as_ref());
    let notify = said.and_then(|repository| repository.notify.clone());
    let plan = Plan { tip: deploy.as_ref().map(|deploy| deploy.tip.clone()), environments };
    let (commit, manifests) = match deploy {
        Some(deploy) => (deploy.info, Some((deploy.tree, deploy.diagnostics))),
        None => (None, None),
    };
    Ok(Survey { plan, commit, manifests, trouble, ports, followed, refs, notify })
}

/// An environment that can't be looked at keeps no other from being.
fn unreadable(name: EnvName, cause: String) -> EnvPlan {
    let action = Action::Blocked(cause);
    EnvPlan {
        name,
        serves: None,
        wants: None,
        action,
        repairs: Vec::new(),
        respected: Vec::new(),
        stays: None,
        moved: None,
        retires: None,
        settles: false,
        stops: false,
    }
}

/// What the repository asks for.
fn ask(
    app: &App,
    cx: &Context<'_>,
    only: &BTreeSet<EnvName>,
    seen: Option<source::Result<CommitId>>,
    installed: &[EnvName],
) -> (Option<Deploy>, Result<Asked, Trouble>) {
    match read(app, cx, seen) {
        Ok(deploy) => {
            let asked = asked::wants(app, cx, &deploy, installed, only).map_err(Trouble::Lasting);
            (Some(deploy), asked)
        }
        Err(trouble) => (None, Err(trouble)),
    }
}

/// The lock is not held while applications are fetched: another pass may have to do with others.
fn read(app: &App, cx: &Context<'_>, seen: Option<source::Result<CommitId>>) -> Result<Deploy, Trouble> {
    let clone = app.layout.deploy_clone();
    let place = Place::Mirror { clone: &clone, of: "the deploy repository" };
    let _fetching = mirror(cx, place, app.wait).map_err(|busy| Trouble::Passing(chain(&busy)))?;
    deploy::read(app, seen).map_err(|error| Trouble::of(&error))
}
