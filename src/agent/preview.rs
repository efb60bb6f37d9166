//! What a plan means, for people: what changed in the manifests and in the application, and what a release would build.
//! Nothing is decided here: the plan is made already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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
    /// The migrations among them.
    pub migrations: Migrations,
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

/// Files of migrations in the application's repository, by what they would do to the database of what serves. What the
/// packages bring is known only once they are installed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Migrations {
    /// New, and, as far as can be known before a build, pending.
    pub pending: Vec<String>,
    /// New since what serves, and applied already: by a release that went back, or was refused.
    pub applied: Vec<String>,
    /// Changed after they were written.
    pub changed: Vec<String>,
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
    let paths = range.and_then(|(objects, from)| objects.changed_paths(&from.commit, &wanted.commit).ok());
    let migrations = range.zip(paths.as_ref()).map(|((objects, from), paths)| {
        let differs = |path: &&String| is_migration(path) && is_there(objects, &wanted.commit, path);
        let (changed, new) =
            paths.iter().filter(differs).cloned().partition(|path| is_there(objects, &from.commit, path));
        migrations(changed, new, || transaction::recorded(cx, installed.generation.as_ref()?))
    });
    Ok(Preview {
        manifests: since.iter().flat_map(|since| manifests(deploy, &plan.name, since, &wanted.deploy_commit)).collect(),
        since,
        source: Commits {
            from: serving.map(|serving| serving.commit.clone()),
            to: wanted.commit.clone(),
            count: range.and_then(|(objects, from)| objects.log_count(&from.commit, &wanted.commit).ok()),
        },
        paths,
        migrations: migrations.unwrap_or_default(),
        serving: installed.serving_slot(),
        foreseen: transaction::foresee(cx, &installed, wanted)?,
    })
}

fn is_migration(path: &str) -> bool {
    let path = Path::new(path);
    path.parent().is_some_and(|parent| parent.ends_with("migrations"))
        && path.extension().is_some_and(|extension| extension == "py")
        && path.file_stem().is_some_and(|stem| stem != "__init__")
}

fn is_there(objects: &Objects, commit: &CommitId, path: &str) -> bool {
    !matches!(objects.file_at(commit, path, MANIFEST), Ok(None))
}

/// Asks the database only when there is something to ask about.
fn migrations(
    changed: Vec<String>,
    new: Vec<String>,
    recorded: impl FnOnce() -> Option<BTreeSet<(String, String)>>,
) -> Migrations {
    let recorded = if new.is_empty() { None } else { recorded() }.unwrap_or_default();
    let (applied, pending) = new.into_iter().partition(|path| recorded.contains(&identity(path)));
    Migrations { pending, applied, changed }
}

/// How Django writes a migration down: `shop/migrations/0002_note.py` is `0002_note` of `shop`.
fn identity(path: &str) -> (String, String) {
    let path = Path::new(path);
    let name = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    (name(path.ancestors().nth(2).and_then(Path::file_name)), name(path.file_stem()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_one_by_its_place() {
        assert!(is_migration("shop/migrations/0002_note.py") && is_migration("site/shop/migrations/x.py"));
        for other in ["shop/migrations/__init__.py", "shop/migrations/0002.sql", "shop/models.py", "migrations.py"] {
            assert!(!is_migration(other), "{other}");
        }
    }

    #[test]
    fn what_the_database_has_is_not_pending() {
        let paths = |list: &[&str]| list.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
        let new = paths(&["site/shop/migrations/0002_note.py", "blog/migrations/0002_note.py"]);
        let recorded = || Some([("shop".to_owned(), "0002_note".to_owned())].into());
        let found = migrations(vec![], new.clone(), recorded);
        assert_eq!((found.applied, found.pending), (paths(&[&new[0]]), paths(&[&new[1]])));
        assert_eq!(migrations(vec![], new.clone(), || None).pending, new, "by its files, when it can't be asked");
        assert_eq!(migrations(vec![], vec![], || panic!("nothing to ask about")), Migrations::default());
    }
}
