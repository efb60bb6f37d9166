//! What a look at a repository found. Pure.

use std::collections::BTreeMap;

use crate::model::CommitId;

/// Branches and tags of a repository, each with the commit it stands for: an annotated tag with the one it was put on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs(BTreeMap<String, CommitId>);

/// Text that `git ls-remote` doesn't print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRefs {
    /// Object names of 64 digits.
    #[error("the repository uses SHA-256 object names; only SHA-1 repositories can be read")]
    Sha256,
    /// A line without id and name.
    #[error("git ls-remote printed `{0}`")]
    Line(String),
}

/// What `ls-remote` appends to a tag's name when it prints what the tag was put on (`gitrevisions(7)`).
pub(super) const PEELED: &str = "^{}";

impl Refs {
    /// Reads what `git ls-remote` prints: `<id> TAB <name>` a line.
    pub fn from_ls_remote(text: &str) -> Result<Self, NotRefs> {
        let mut refs = BTreeMap::new();
        let mut peeled = Vec::new();
        for line in text.lines() {
            let (name, commit) = parse_line(line)?;
            match name.strip_suffix(PEELED) {
                Some(tag) => peeled.push((tag.to_owned(), commit)),
                None => drop(refs.insert(name.to_owned(), commit)),
            }
        }
        refs.extend(peeled);
        Ok(Self(refs))
    }

    /// What a full name (`refs/heads/main`) stands for.
    pub fn get(&self, name: &str) -> Option<&CommitId> {
        self.0.get(name)
    }

    /// What a branch stands for.
    pub fn branch(&self, name: &str) -> Option<&CommitId> {
        self.0.get(&branch_ref(name))
    }

    /// What a tag stands for.
    pub fn tag(&self, name: &str) -> Option<&CommitId> {
        self.0.get(&tag_ref(name))
    }

    /// Branches and tags by kind and short name: `("branch", "main")`.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.keys().filter_map(|name| {
            let branch = name.strip_prefix("refs/heads/").map(|short| ("branch", short));
            branch.or_else(|| name.strip_prefix("refs/tags/").map(|short| ("tag", short)))
        })
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Branches and tags that are named most like `name`, at most three: `tag v1.4.1`.
    pub fn near(&self, name: &str) -> Vec<String> {
        let bound = name.chars().count() / 3 + 1;
        let mut near: Vec<_> = self.names().map(|(kind, other)| (distance(name, other), kind, other)).collect();
        near.retain(|(far, ..)| *far <= bound);
        near.sort_unstable();
        near.into_iter().take(3).map(|(_, kind, other)| format!("{kind} {other}")).collect()
    }
}

impl FromIterator<(String, CommitId)> for Refs {
    fn from_iter<I: IntoIterator<Item = (String, CommitId)>>(refs: I) -> Self {
        Self(refs.into_iter().collect())
    }
}

/// `refs/heads/NAME`
pub fn branch_ref(name: &str) -> String {
    format!("refs/heads/{name}")
}

/// `refs/tags/NAME`
pub fn tag_ref(name: &str) -> String {
    format!("refs/tags/{name}")
}

fn parse_line(line: &str) -> Result<(&str, CommitId), NotRefs> {
    let wrong = || NotRefs::Line(line.escape_debug().take(100).collect());
    let (id, name) = line.split_once('\t').ok_or_else(wrong)?;
    if id.len() == 64 {
        return Err(NotRefs::Sha256);
    }
    Ok((name, CommitId::parse(id).map_err(|_| wrong())?))
}

/// Levenshtein's: how many characters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: &str) -> CommitId {
        CommitId::parse(&digit.repeat(40)).unwrap()
    }

    #[test]
    fn an_annotated_tag_stands_for_its_commit() {
        let text =
            format!("{}\trefs/tags/v1\n{}\trefs/tags/v1^{{}}\n{}\tHEAD\n", commit("1"), commit("2"), commit("3"));
        let refs = Refs::from_ls_remote(&text).unwrap();
        assert_eq!(refs.tag("v1"), Some(&commit("2")));
        assert_eq!(refs.branch("v1"), None);
        assert_eq!(refs.get("HEAD"), Some(&commit("3")));
    }

    #[test]
    fn foreign_text_is_refused() {
        assert_eq!(Refs::from_ls_remote(&format!("{}\trefs/heads/main", "a".repeat(64))), Err(NotRefs::Sha256));
        assert_eq!(Refs::from_ls_remote("hello\u{1b}"), Err(NotRefs::Line("hello\\u{1b}".into())));
        assert!(Refs::from_ls_remote("").unwrap().is_empty());
    }

    #[test]
    fn near_names_come_nearest_first() {
        let names = ["refs/heads/main", "refs/tags/v1.4.1", "refs/tags/v1.4.2", "refs/tags/v2.0.0"];
        let refs: Refs = names.map(|name| (name.to_owned(), commit("1"))).into_iter().collect();
        assert_eq!(refs.near("v1.4.22"), ["tag v1.4.2", "tag v1.4.1"]);
        assert_eq!(refs.near("mian"), ["branch main"]);
        assert!(refs.near("completely-different").is_empty());
    }

    #[test]
    fn distances() {
        for (a, b, far) in [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("main", "main", 0)] {
            assert_eq!(distance(a, b), far, "{a} {b}");
        }
    }
}
