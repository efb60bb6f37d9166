//! The slot that a unit or a program is named after.

use super::SlotId;
use crate::model::{EnvName, Slot};

/// Reads `portreeve-bakery_pro@a.service`. None of the letters that a name may have is escaped (`systemd.unit(5)`): units are
/// named after slots, not after paths.
pub(super) fn of_unit(unit: &str) -> Option<SlotId> {
    let (env, slot) = unit.strip_prefix("portreeve-")?.strip_suffix(".service")?.rsplit_once('@')?;
    parse(env, slot)
}

/// Reads `portreeve-bakery_pro-a`.
pub(super) fn of_program(program: &str) -> Option<SlotId> {
    let (env, slot) = program.strip_prefix("portreeve-")?.rsplit_once('-')?;
    parse(env, slot)
}

fn parse(env: &str, slot: &str) -> Option<SlotId> {
    if env.contains('/') {
        return None;
    }
    let slot = Slot::BOTH.into_iter().find(|known| known.as_str() == slot)?;
    Some(SlotId { env: EnvName::parse_flat(env).ok()?, slot })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Layout, Root};

    #[test]
    fn names_come_back() {
        let layout = Layout::new(Root::system());
        for env in ["bakery/pro", "project.baz/stage", "a-b.c-d/e9"] {
            for slot in Slot::BOTH {
                let id = SlotId { env: EnvName::parse(env).unwrap(), slot };
                assert_eq!(of_unit(&layout.unit_name(&id.env, slot)).as_ref(), Some(&id));
                assert_eq!(of_program(&layout.program_name(&id.env, slot)).as_ref(), Some(&id));
            }
        }
    }

    #[test]
    fn what_is_not_ours_has_no_slot() {
        for unit in [
            "portreeve.service",
            "portreeve-reconcile.service",
            "portreeve-bakery_pro@.service",
            "portreeve-bakery_pro@c.service",
            "portreeve-bakery@a.service",
            "portreeve-bakery/pro@a.service",
            "portreeve-bakery_pro@a.socket",
            "nginx.service",
        ] {
            assert_eq!(of_unit(unit), None, "{unit}");
        }
        for program in ["portreeve-bakery_pro", "portreeve-bakery-a", "portreeve-bakery_pro-c", "cron"] {
            assert_eq!(of_program(program), None, "{program}");
        }
    }
}
