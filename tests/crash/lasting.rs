//! What keeps an environment where it is outlasts a start of its slot.

use portreeve::agent::{Left, Outcome};
use portreeve::model::{Slot, SlotId};
use portreeve::plan::Want;

use crate::oracle::serving;
use crate::program::{Wish, pass, pass_for};
use crate::scenarios::after;
use crate::site::{Release, Stage, name};
use crate::step::Behaviour;

/// Somebody stops what serves.
fn stopped(stage: &Stage) -> Stage {
    let mut state = stage.state();
    for slot in Slot::BOTH {
        state.services.halt(&SlotId { env: name(), slot });
    }
    assert_eq!(serving(&state), Ok(None));
    Stage::new(state)
}

/// Ok for one pass, and quarantined again at the next, is two letters to people of whom nobody has mended anything.
#[test]
fn what_is_started_is_as_quarantined_as_before() {
    let stage = Stage::new(after(&[Release::good("v1")]));
    let wish = Wish::Release(Release::new("v2-fails", Behaviour::Fails));
    let refused = pass(&stage, &wish);
    assert_eq!(refused.exit_code(), 3, "{refused:?}");
    let stage = stopped(&stage);
    for _ in 0..2 {
        let outcome = pass(&stage, &wish);
        assert!(matches!(outcome, Outcome::Left(Left::Quarantined(_))), "{outcome:?}");
        assert_eq!(serving(&stage.state()), Ok(Some("v1".to_owned())));
    }
}

#[test]
fn what_is_started_is_as_stale_or_diverged_as_before() {
    type Case = (fn(String) -> Want, fn(String) -> Left);
    let cases: [Case; 3] =
        [(Want::Unknown, Left::Stale), (Want::Diverged, Left::Diverged), (Want::Unusable, Left::Blocked)];
    for (want, left) in cases {
        let stage = stopped(&Stage::new(after(&[Release::good("v1")])));
        for _ in 0..2 {
            let outcome = pass_for(&stage, want("so it is".to_owned()));
            assert_eq!(outcome, Outcome::Left(left("so it is".to_owned())));
            assert_eq!(serving(&stage.state()), Ok(Some("v1".to_owned())));
        }
    }
}
