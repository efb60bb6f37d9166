//! What a plan means, for people: what changed in the manifests and in the application, and what a release would build.
//! Nothing is decided here: the plan is made already.

use std::collections::BTreeMap;

use crate::desired::Wanted;
use crate::model::{CommitId, EnvName, Slot};
use crate::plan::{Action, Edited, EnvPlan, edited};
use crate::source::Objects;
use crate::transaction::{self, Context, Failure, Foreseen};

use super::{App, Survey};

/// No manifest is larger.
const MANIFEST: u64 = 1024 * 1024;

/// The releases of a plan.
#[derive(Debug, Default)]
pub struct Previews {
    /// The newest commit of the deploy repository that is applied on this host.
    pub applied: Option<CommitId>,
    /// What each release would do.
    pub releases: BTreeMap<EnvName, Preview>,
}

/// What one release would do.
#[derive(Debug)]
pub struct Preview {
    /// The deploy repository's commit that is applied; `None` for a first release.
    pub since: Option<CommitId>,
    /// The manifests that changed since then.
    pub manifests: Vec<Edited>,
    /// The application's commits.
    pub source: Commits,
    /// Files of the application that changed; `None` when that can't be known.
    pub paths: Option<Vec<String>>,
    /// The slot that serves.
    pub serving: Option<Slot>,
    /// What would be made.
    pub foreseen: Foreseen,
}

/// A range of the application's commits.
#[derive(Debug)]
pub struct Commits {
    /// What serves; `None` for a first release.
    pub from: Option<CommitId>,
    /// What is wanted.
    pub to: CommitId,
    /// How many are new; `None` when the mirror lacks the old one.
    pub count: Option<usize>,
}

/// Looks closer at what a survey wants to release.
pub fn preview(app: &App, cx: &Context<'_>, survey: &Survey) -> Result<Previews, Failure> {
    let Ok(deploy) = Objects::open(&app.layout.deploy_clone()) else { return Ok(Previews::default()) };
    let mut releases = BTreeMap::new();
    for plan in &survey.plan.environments {
        if let (Action::Release, Some(wanted)) = (&plan.action, &plan.wants) {
            releases.insert(plan.name.clone(), release(app, cx, &deploy, plan, wanted)?);
        }
    }
    let all = survey.plan.environments.iter().filter_map(applied);
    let applied = all.max_by_key(|commit| deploy.commit_info(commit).map(|info| info.time).ok());
    Ok(Previews { applied: applied.cloned(), releases })
}

fn applied(plan: &EnvPlan) -> Option<&CommitId> {
    Some(&plan.serves.as_ref()?.wanted.deploy_commit)
}

fn release(app: &App, cx: &Context<'_>, deploy: &Objects, plan: &EnvPlan, wanted: &Wanted) -> Result<Preview, Failure> {
    let installed = transaction::installed(cx, &plan.name, &BTreeMap::new())?;
    let serving = plan.serves.as_ref().map(|serving| &serving.wanted);
    let since = serving.map(|serving| serving.deploy_commit.clone());
    let application = Objects::open(&app.layout.source_clone(&wanted.env.source)).ok();
    let range = application.as_ref().zip(serving);
    Ok(Preview {
        manifests: since.iter().flat_map(|since| manifests(deploy, &plan.name, since, &wanted.deploy_commit)).collect(),
        since,
        source: Commits {
            from: serving.map(|serving| serving.commit.clone()),
            to: wanted.commit.clone(),
            count: range.and_then(|(objects, from)| objects.log_count(&from.commit, &wanted.commit).ok()),
        },
        paths: range.and_then(|(objects, from)| objects.changed_paths(&from.commit, &wanted.commit).ok()),
        serving: installed.serving_slot(),
        foreseen: transaction::foresee(cx, &installed, wanted)?,
    })
}

/// The changed lines of every manifest that has a say in an environment.
pub fn manifests(deploy: &Objects, name: &EnvName, from: &CommitId, to: &CommitId) -> Vec<Edited> {
    let text = |commit, path: &str| {
        let bytes = deploy.file_at(commit, path, MANIFEST).ok().flatten();
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let paths = [
        "portreeve.toml".to_owned(),
        format!("projects/{}/project.toml", name.project),
        format!("projects/{name}.toml"),
    ];
    paths.iter().filter_map(|path| edited(path, &text(from, path), &text(to, path))).collect()
}
