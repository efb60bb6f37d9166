//! Which commit is meant, and whether we may go there. Pure: facts in, a decision out.

use crate::manifest::{Policy, Rev};
use crate::model::CommitId;

use super::refs::{PEELED, Refs, branch_ref, tag_ref};

/// How a tip stands to the commit that was applied last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ancestry {
    /// It is that commit.
    Same,
    /// It was built on that commit.
    Descendant,
    /// It was not: history was rewritten, or goes back.
    Diverged,
    /// That commit is no longer to be had, so nothing can be shown.
    Unknown,
}

/// What to do with a tip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// It is applied already.
    Unchanged,
    /// Go there.
    Advance {
        /// The commit applied before; `None` for the first.
        from: Option<CommitId>,
        /// The tip.
        to: CommitId,
    },
    /// Stay, in state `diverged`.
    Refuse(Refusal),
}

/// A tip that the policy doesn't follow by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} does not contain {}, which is applied here: the branch was rewritten",
    .tip.short(),
    .applied.short()
)]
pub struct Refusal {
    /// What stays applied.
    pub applied: CommitId,
    /// What the branch now leads to.
    pub tip: CommitId,
}

/// Decides about a tip: `applied` is the commit of the environment's generation, the floor below which it doesn't go back,
/// and `accepted` the one commit that a person let through (`portreeve accept ENV COMMIT`).
pub fn select(
    applied: Option<&CommitId>,
    tip: &CommitId,
    ancestry: Ancestry,
    policy: Policy,
    accepted: Option<&CommitId>,
) -> Selection {
    let advance = || Selection::Advance { from: applied.cloned(), to: tip.clone() };
    let Some(floor) = applied else { return advance() };
    match ancestry {
        _ if floor == tip => Selection::Unchanged,
        Ancestry::Descendant => advance(),
        _ if policy == Policy::Dev || accepted == Some(tip) => advance(),
        Ancestry::Same | Ancestry::Diverged | Ancestry::Unknown => {
            Selection::Refuse(Refusal { applied: floor.clone(), tip: tip.clone() })
        }
    }
}

/// What a revision turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit to release.
    pub commit: CommitId,
    /// How it was found.
    pub via: Via,
}

/// What named a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// A tag.
    Tag(String),
    /// A branch, which moves.
    Branch(String),
    /// The commit itself: no look at the repository is needed.
    Commit,
}

/// Why a revision means no commit; each says the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevError {
    /// Neither tag nor branch, or not the one that was asked for.
    #[error("no {kind} `{name}`{}", hint(.near))]
    NoSuchRev {
        /// `tag`, `branch`, or `tag or branch`.
        kind: &'static str,
        /// As the manifest names it.
        name: String,
        /// What is there under such a name: `tag v1.4.1`.
        near: Vec<String>,
    },
    /// The beginning of a commit's id: what it means may change with the next push.
    #[error("no tag or branch `{0}`; if it is a commit, write all 40 digits (git rev-parse {0})")]
    Abbreviated(String),
    /// A branch where only what stays put is accepted.
    #[error("`{name}` is a branch, which pro does not follow; put a tag on it, or write rev = \"{tip}\"")]
    BranchOnPro {
        /// The branch.
        name: String,
        /// Where it leads now.
        tip: CommitId,
    },
}

fn hint(near: &[String]) -> String {
    match near {
        [] => String::from("; push it first, or correct the name"),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

/// The refs that have to be looked at to resolve `rev`; none for a commit.
pub fn wanted_refs(rev: &Rev) -> Vec<String> {
    let tag = |name: &str| [tag_ref(name), format!("{}{PEELED}", tag_ref(name))];
    match rev {
        Rev::Commit(_) => Vec::new(),
        Rev::Tag(name) => tag(name).to_vec(),
        Rev::Branch(name) => vec![branch_ref(name)],
        Rev::Named(name) => tag(name).into_iter().chain([branch_ref(name)]).collect(),
    }
}

/// The commit that `rev` means where a look found `refs`. A tag wins over a branch of the same name.
///
/// A look for [`wanted_refs`] alone is enough to succeed; look at everything before an error is shown, for its near names.
pub fn resolve(rev: &Rev, policy: Policy, refs: &Refs) -> Result<Resolved, RevError> {
    match rev {
        Rev::Commit(commit) => Ok(Resolved { commit: commit.clone(), via: Via::Commit }),
        Rev::Tag(name) => tag(name, refs).ok_or_else(|| unknown("tag", name, refs)),
        Rev::Branch(name) => branch(name, policy, refs)?.ok_or_else(|| unknown("branch", name, refs)),
        Rev::Named(name) => match tag(name, refs) {
            Some(found) => Ok(found),
            None => branch(name, policy, refs)?.ok_or_else(|| unnamed(name, refs)),
        },
    }
}

fn tag(name: &str, refs: &Refs) -> Option<Resolved> {
    refs.tag(name).map(|commit| Resolved { commit: commit.clone(), via: Via::Tag(name.to_owned()) })
}

fn branch(name: &str, policy: Policy, refs: &Refs) -> Result<Option<Resolved>, RevError> {
    let Some(tip) = refs.branch(name) else { return Ok(None) };
    if policy == Policy::Pro {
        return Err(RevError::BranchOnPro { name: name.to_owned(), tip: tip.clone() });
    }
    Ok(Some(Resolved { commit: tip.clone(), via: Via::Branch(name.to_owned()) }))
}

fn unknown(kind: &'static str, name: &str, refs: &Refs) -> RevError {
    RevError::NoSuchRev { kind, name: name.to_owned(), near: refs.near(name) }
}

fn unnamed(name: &str, refs: &Refs) -> RevError {
    let abbreviated = (7..40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
    if abbreviated { RevError::Abbreviated(name.to_owned()) } else { unknown("tag or branch", name, refs) }
}

/// A tag that was put on another commit after it was released. It is reported and never followed by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "tag {name} moved from {} to {}; {} stays: name a new tag, or the commit, to release the other",
    .was.short(),
    .now.short(),
    .was.short()
)]
pub struct TagMoved {
    /// The tag.
    pub name: String,
    /// The commit that was released by this name.
    pub was: CommitId,
    /// The commit it is on now.
    pub now: CommitId,
}

/// Compares a tag with the commit recorded when it was first released. A tag that has gone is no move.
pub fn tag_moved(name: &str, was: &CommitId, refs: &Refs) -> Option<TagMoved> {
    let now = refs.tag(name).filter(|now| *now != was)?;
    Some(TagMoved { name: name.to_owned(), was: was.clone(), now: now.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: &str) -> CommitId {
        CommitId::parse(&digit.repeat(40)).unwrap()
    }

    fn refs(list: &[(&str, &str)]) -> Refs {
        list.iter().map(|(name, digit)| ((*name).to_owned(), commit(digit))).collect()
    }

    const ANCESTRIES: [Ancestry; 3] = [Ancestry::Descendant, Ancestry::Diverged, Ancestry::Unknown];
    const POLICIES: [Policy; 3] = [Policy::Pro, Policy::Stage, Policy::Dev];

    #[test]
    fn the_first_tip_is_taken_and_the_same_one_is_not() {
        for policy in POLICIES {
            let first = select(None, &commit("2"), Ancestry::Unknown, policy, None);
            assert_eq!(first, Selection::Advance { from: None, to: commit("2") });
            let same = select(Some(&commit("2")), &commit("2"), Ancestry::Same, policy, None);
            assert_eq!(same, Selection::Unchanged);
        }
    }

    #[test]
    fn only_dev_follows_a_rewritten_branch() {
        for policy in POLICIES {
            for ancestry in ANCESTRIES {
                let selection = select(Some(&commit("1")), &commit("2"), ancestry, policy, None);
                let follows = ancestry == Ancestry::Descendant || policy == Policy::Dev;
                assert_eq!(matches!(selection, Selection::Advance { .. }), follows, "{policy:?} {ancestry:?}");
                assert_eq!(matches!(selection, Selection::Refuse(_)), !follows, "{policy:?} {ancestry:?}");
            }
        }
    }

    #[test]
    fn a_person_accepts_one_commit_and_no_other() {
        let go = |tip| select(Some(&commit("1")), &commit(tip), Ancestry::Diverged, Policy::Pro, Some(&commit("2")));
        assert!(matches!(go("2"), Selection::Advance { .. }));
        assert!(matches!(go("3"), Selection::Refuse(_)));
    }

    #[test]
    fn a_tag_wins_over_a_branch() {
        let refs = refs(&[("refs/tags/v1", "1"), ("refs/heads/v1", "2")]);
        let rev = Rev::Named("v1".into());
        let via_tag = Resolved { commit: commit("1"), via: Via::Tag("v1".into()) };
        assert_eq!(resolve(&rev, Policy::Pro, &refs), Ok(via_tag));
        let via_branch = resolve(&Rev::Branch("v1".into()), Policy::Stage, &refs).unwrap();
        assert_eq!(via_branch.commit, commit("2"));
    }

    #[test]
    fn pro_follows_no_branch() {
        let refs = refs(&[("refs/heads/main", "1")]);
        for rev in [Rev::Named("main".into()), Rev::Branch("main".into())] {
            assert!(matches!(resolve(&rev, Policy::Pro, &refs), Err(RevError::BranchOnPro { .. })));
            assert!(resolve(&rev, Policy::Stage, &refs).is_ok());
        }
    }

    #[test]
    fn what_is_not_there_is_named_with_its_neighbours() {
        let refs = refs(&[("refs/tags/v1.4.1", "1"), ("refs/heads/main", "2")]);
        let error = |rev| resolve(&rev, Policy::Dev, &refs).unwrap_err().to_string();
        assert_eq!(error(Rev::Named("v1.4.2".into())), "no tag or branch `v1.4.2`; did you mean tag v1.4.1?");
        assert_eq!(error(Rev::Tag("main".into())), "no tag `main`; did you mean branch main?");
        assert!(error(Rev::Named("deadbeef".into())).contains("all 40 digits"));
        assert!(error(Rev::Branch("release-2026".into())).contains("push it first"));
    }

    #[test]
    fn a_commit_needs_no_look() {
        let rev = Rev::Commit(commit("7"));
        assert!(wanted_refs(&rev).is_empty());
        assert_eq!(resolve(&rev, Policy::Pro, &Refs::default()).unwrap().via, Via::Commit);
        assert_eq!(wanted_refs(&Rev::Named("v1".into())), ["refs/tags/v1", "refs/tags/v1^{}", "refs/heads/v1"]);
    }

    #[test]
    fn a_moved_tag_is_noticed() {
        let refs = refs(&[("refs/tags/v1", "2")]);
        let moved = tag_moved("v1", &commit("1"), &refs).unwrap();
        assert_eq!((&moved.was, &moved.now), (&commit("1"), &commit("2")));
        assert_eq!(tag_moved("v1", &commit("2"), &refs), None);
        assert_eq!(tag_moved("v2", &commit("1"), &refs), None);
    }
}
