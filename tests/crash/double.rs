//! A double failure: a release fails in front, and what it goes back to does not start any more.

use std::collections::BTreeMap;
use std::time::Duration;

use portreeve::agent::Outcome;
use portreeve::desired::Why;
use portreeve::model::{Slot, SlotId};
use portreeve::policy::Phase;
use portreeve::transaction::{self, Context, Event, Going, Released, Report};

use crate::oracle::{active_number, serving};
use crate::program::{Wish, pass};
use crate::scenarios::{after, bad, standing};
use crate::services::Code;
use crate::site::{Release, Stage, layout, name, paths};
use crate::step::Behaviour;

/// Passes with nothing new to do.
const PASSES: usize = 20;

/// Gives v1 this behaviour from its next start on.
fn rewrite(stage: &Stage, behaviour: Behaviour) {
    let v1 = Release::good("v1");
    let code = Code { behaviour, ..v1.code.clone() };
    let path = paths().release(&v1.wanted().release).join("code");
    stage.host.machine.state.borrow_mut().storage.write(&path, code.text().as_bytes());
}

/// Ends v1 for good when v2 is about to be judged.
struct Strikes<'a>(&'a Stage);

impl Report for Strikes<'_> {
    fn event(&self, event: &Event<'_>) {
        if let Event::Working { phase: Phase::Verify, .. } = event {
            rewrite(self.0, Behaviour::Dies);
            let mut state = self.0.host.machine.state.borrow_mut();
            state.services.halt(&SlotId { env: name(), slot: Slot::A });
        }
        self.0.notes.event(event);
    }
}

#[test]
fn when_what_is_gone_back_to_does_not_start_it_is_said_and_nothing_loops() {
    let (stage, v2) = (Stage::new(after(&[Release::good("v1")])), bad("v2", Behaviour::FailsInFront));
    let strikes = Strikes(&stage);
    let cx = Context { report: &strikes, ..stage.cx() };
    let installed = transaction::installed(&cx, &name(), &BTreeMap::new()).expect("v1");
    let going = Going::Forward { wanted: Box::new(v2.wanted()), why: Why::Push };
    let Released::Refused { failure, seen: true, .. } = transaction::go(&cx, &installed, &going) else {
        panic!("it fails in front")
    };
    assert!(failure.cause.starts_with("health answered 500"), "the first failure is the one that is told: {failure}");
    let told = format!("{}: v1 is back, and not well: ", name());
    assert!(stage.notes.0.borrow().iter().any(|note| note.starts_with(&told)), "{:?}", stage.notes);
    let wish = Wish::Release(v2.clone());
    stage.host.machine.started.replace(Vec::new());
    for _ in 0..PASSES {
        let state = stage.state();
        assert_eq!((active_number(&state), state.storage.names(&layout().journal()).len()), (Some(1), 0));
        assert!(standing(&state).quarantined(v2.wanted().digest).is_some());
        stage.host.machine.state.borrow_mut().clock += Duration::from_mins(1);
        let Outcome::Failed(failure) = pass(&stage, &wish) else { panic!("v1 is down, and that is no failure") };
        assert!(failure.cause.starts_with("the processes ended while they were being started"), "{failure}");
    }
    assert_eq!(*stage.host.machine.started.borrow(), vec!["v1"; PASSES], "once a pass what serves, and never v2");
    rewrite(&stage, Behaviour::Well);
    pass(&stage, &wish);
    assert_eq!(serving(&stage.state()), Ok(Some("v1".to_owned())), "as soon as it can");
}
