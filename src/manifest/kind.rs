//! Which layer may say what.

use super::reader::Keys;

/// Which of the three layers is read: what it may say depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[defaults]` of portreeve.toml
    Defaults,
    /// `project.toml`
    Project,
    /// The environment's own file.
    Environment,
}

/// Only an environment's own file weakens its policy.
pub(super) fn weakened(keys: &mut Keys<'_, '_>, key: &str, weaker: bool) {
    if let Some(spot) = keys.key_spot(key).filter(|_| weaker) {
        let complaint = spot.error(format!("`{key}` weakens every environment below"));
        keys.out.push(complaint.label("say it in the environment's own file"));
    }
}
