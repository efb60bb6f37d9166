//! Which commit is meant, and whether we may go there. Pure: facts in, a decision out.

use crate::manifest::{Policy, Rev};
use crate::model::CommitId;

use super::refs::{PEELED, Refs, branch_ref, tag_ref};

/// How a tip stands to the newest commit that was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ancestry {
    /// It is that commit.
    Same,
    /// It was built on that commit.
    Descendant,
    /// It is older: that commit was built on it.
    Behind,
    /// Neither: history was rewritten.
    Diverged,
    /// That commit is no longer to be had, so nothing can be shown.
    Unknown,
}

/// A tip that the policy doesn't follow by itself. What is applied stays, in state `diverged`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was followed last.
    pub floor: CommitId,
    /// Where the branch leads now.
    pub tip: CommitId,
    /// How it stands to the floor.
    pub ancestry: Ancestry,
}

impl Refusal {
    /// What is so, in one line: `branch` is what was rewritten, `who` made the tip, and when.
    pub fn words(&self, branch: &str, who: &str) -> String {
        let (floor, tip) = (self.floor.short(), self.tip.short());
        match self.ancestry {
            Ancestry::Behind => format!("{branch} went back to {tip} ({who}), older than {floor} (applied)"),
            Ancestry::Unknown => format!(
                "{branch} no longer has {floor} (applied), so whether {tip} ({who}) was built on it can't be known"
            ),
            Ancestry::Same | Ancestry::Descendant | Ancestry::Diverged => {
                format!("{branch} was rewritten; {floor} (applied) is no ancestor of {tip} ({who})")
            }
        }
    }
}

/// Whether to go from `floor`, the newest commit that was followed, to `tip`, where the branch leads now. What can't be shown to
/// descend from the floor does not. `ancestry` says how its second argument stands to its first.
///
/// `policy` is that of what is applied: a rewritten history does not choose the rule that it is judged by. A person agrees
/// (`portreeve accept ENV COMMIT`) to a commit and to what is built on it, until that was followed: from then on the floor is on
/// it, and going back to it is going back.
pub fn follow(
    ancestry: impl Fn(&CommitId, &CommitId) -> Ancestry,
    floor: &CommitId,
    tip: &CommitId,
    policy: Policy,
    accepted: Option<&CommitId>,
) -> Result<(), Refusal> {
    let is_on = |commit: &CommitId, base: &CommitId| {
        commit == base || matches!(ancestry(base, commit), Ancestry::Same | Ancestry::Descendant)
    };
    let agreed = || accepted.is_some_and(|accepted| is_on(tip, accepted) && !is_on(floor, accepted));
    if policy == Policy::Dev || is_on(tip, floor) || agreed() {
        return Ok(());
    }
    Err(Refusal { floor: floor.clone(), tip: tip.clone(), ancestry: ancestry(floor, tip) })
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

/// A tag that was put on another commit after it was released. It is reported and, but for dev, never followed by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tag {name} moved from {} to {}; {} stays", .was.short(), .now.short(), .was.short())]
pub struct TagMoved {
    /// The tag.
    pub name: String,
    /// The commit that was released by this name.
    pub was: CommitId,
    /// The commit it is on now.
    pub now: CommitId,
}

/// What a tag on commit `now` is taken for where `was` was released by its name. Only dev follows, or a person who agreed.
pub fn pin(name: &str, was: &CommitId, now: &CommitId, policy: Policy, accepted: bool) -> Result<(), TagMoved> {
    if was == now || accepted || policy == Policy::Dev {
        return Ok(());
    }
    Err(TagMoved { name: name.to_owned(), was: was.clone(), now: now.clone() })
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

    const ANCESTRIES: [Ancestry; 5] =
        [Ancestry::Same, Ancestry::Descendant, Ancestry::Behind, Ancestry::Diverged, Ancestry::Unknown];
    const POLICIES: [Policy; 3] = [Policy::Pro, Policy::Stage, Policy::Dev];

    #[test]
    fn only_dev_goes_by_itself_where_descent_cannot_be_shown() {
        let (floor, tip) = (&commit("1"), &commit("2"));
        for policy in POLICIES {
            for ancestry in ANCESTRIES {
                let follows = follow(|_, _| ancestry, floor, tip, policy, None).is_ok();
                let descends = matches!(ancestry, Ancestry::Same | Ancestry::Descendant);
                assert_eq!(follows, descends || policy == Policy::Dev, "{policy:?} {ancestry:?}");
                // Nothing has to be known of a commit that is followed already.
                follow(|_, _| ancestry, floor, floor, policy, None).unwrap();
            }
        }
    }

    /// Commits that grow from each other, and may be lost: all that `follow` can know of a repository.
    #[derive(Default)]
    struct World {
        parents: Vec<Option<usize>>,
        lost: Vec<bool>,
    }

    impl World {
        fn commit(&mut self, parent: Option<usize>) -> usize {
            self.parents.push(parent);
            self.lost.push(false);
            self.parents.len() - 1
        }

        fn is_on(&self, commit: usize, base: usize) -> bool {
            std::iter::successors(Some(commit), |at| self.parents[*at]).any(|at| at == base)
        }

        fn id(number: usize) -> CommitId {
            CommitId::parse(&format!("{number:040x}")).unwrap()
        }

        fn ancestry(&self, floor: &CommitId, tip: &CommitId) -> Ancestry {
            let number = |commit: &CommitId| usize::from_str_radix(commit.as_str(), 16).unwrap();
            let (floor, tip) = (number(floor), number(tip));
            match () {
                () if self.lost[floor] || self.lost[tip] => Ancestry::Unknown,
                () if self.is_on(tip, floor) => Ancestry::Descendant,
                () if self.is_on(floor, tip) => Ancestry::Behind,
                () => Ancestry::Diverged,
            }
        }
    }

    /// What may happen to a branch and to our cache of it, at random.
    #[test]
    fn pro_never_goes_back_nor_aside_but_where_a_person_sent_it() {
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let (mut steps, mut refusals, mut agreements) = (0, 0, 0);
        for _ in 0..400 {
            let mut world = World::default();
            let mut tip = world.commit(None);
            let (mut floor, mut accepted) = (tip, None);
            for _ in 0..40 {
                match random(8) {
                    0..3 => tip = world.commit(Some(tip)),
                    3 => tip = random(world.parents.len()),
                    4 => tip = world.commit(None),
                    5 => tip = world.commit(Some(random(tip + 1))),
                    6 => accepted = Some(tip),
                    // The cache is lost: what is fetched again is the branch as it is now.
                    _ => world.lost = (0..world.parents.len()).map(|commit| !world.is_on(tip, commit)).collect(),
                }
                // What is fetched is here, with all that it was built on.
                for commit in 0..world.parents.len() {
                    world.lost[commit] &= !world.is_on(tip, commit);
                }
                let agreed = accepted.map(World::id);
                let (from, to) = (World::id(floor), World::id(tip));
                let followed = follow(|a, b| world.ancestry(a, b), &from, &to, Policy::Pro, agreed.as_ref());
                let sent = accepted.is_some_and(|accepted| world.is_on(tip, accepted));
                steps += 1;
                let descends = world.is_on(tip, floor);
                // Nothing but an unrelated tip is refused, and nothing but a person's word makes up for it.
                assert!(followed.is_ok() || !descends, "{floor} -> {tip}");
                assert!(followed.is_err() || descends || sent, "{floor} -> {tip}");
                refusals += usize::from(followed.is_err());
                if followed.is_ok() {
                    agreements += usize::from(!descends);
                    floor = tip;
                }
            }
        }
        println!("{steps} steps, {refusals} refused, {agreements} by agreement");
        assert!(refusals > 1_000 && agreements > 100);
    }

    /// Agreement ends when it was followed: what was agreed to is old by then.
    #[test]
    fn there_is_no_way_back_to_what_was_agreed_to() {
        let mut world = World::default();
        let old = world.commit(None);
        let agreed = world.commit(None);
        let later = world.commit(Some(agreed));
        let go = |floor, tip| {
            let accepted = Some(World::id(agreed));
            follow(|a, b| world.ancestry(a, b), &World::id(floor), &World::id(tip), Policy::Pro, accepted.as_ref())
                .is_ok()
        };
        assert!(go(old, agreed) && go(old, later) && go(agreed, later));
        assert!(!go(later, agreed) && !go(later, old) && !go(agreed, old));
    }

    #[test]
    fn a_refusal_names_both_commits() {
        for ancestry in [Ancestry::Behind, Ancestry::Diverged, Ancestry::Unknown] {
            let refusal = Refusal { floor: commit("1"), tip: commit("2"), ancestry };
            let words = refusal.words("main", "Marco, 02:31 UTC");
            assert!(words.contains("1111111 (applied)") && words.contains("2222222 (Marco, 02:31 UTC)"), "{words}");
        }
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
    fn a_moved_tag_is_noticed_and_only_dev_or_a_person_follows_it() {
        let (was, now) = (&commit("1"), &commit("2"));
        for policy in POLICIES {
            pin("v1", was, was, policy, false).unwrap();
            pin("v1", was, now, policy, true).unwrap();
            assert_eq!(pin("v1", was, now, policy, false).is_ok(), policy == Policy::Dev);
        }
        let moved = pin("v1.4.2", was, now, Policy::Pro, false).unwrap_err();
        assert_eq!(moved.to_string(), "tag v1.4.2 moved from 1111111 to 2222222; 1111111 stays");
    }
}
