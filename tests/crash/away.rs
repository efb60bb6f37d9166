//! nginx is away when a killed release is to be ended.

use std::collections::BTreeMap;
use std::time::Duration;

use portreeve::agent::Outcome;
use portreeve::desired::Why;
use portreeve::policy::{Phase, Standing};
use portreeve::transaction::{self, Context, Event, Going, Released, Report};

use crate::machine::State;
use crate::oracle::{active_number, at_rest};
use crate::program::{Wish, pass};
use crate::scenarios::{after, standing};
use crate::site::{Release, Stage, layout, name};

/// Switched to, and not judged yet.
fn is_open(state: &State) -> bool {
    active_number(state) == Some(2) && !state.storage.names(&layout().journal()).is_empty()
}

#[test]
fn what_was_switched_to_waits_for_its_verdict_without_a_blame_or_a_write() {
    let wish = Wish::Release(Release::good("v2"));
    let stage = Stage::new(after(&[Release::good("v1")]));
    stage.host.machine.watch();
    pass(&stage, &wish);
    let open: Vec<_> = stage.host.machine.points().into_iter().filter(|point| is_open(&point.state)).collect();
    assert!(open.len() > 5, "{} points", open.len());
    for point in open {
        let stage = Stage::new(point.state);
        let runs = |running| stage.host.machine.state.borrow_mut().front.running = running;
        runs(false);
        // A repair that is left over from the kill may be due.
        pass(&stage, &wish);
        stage.host.machine.watch();
        let Outcome::Failed(failure) = pass(&stage, &wish) else { panic!("killed {}", point.what) };
        assert!(failure.cause.starts_with("visitors get nothing: nginx does not answer"), "{}: {failure}", point.what);
        let writes = stage.host.machine.log.borrow().iter().filter(|call| !call.contains("sync")).count();
        assert_eq!((writes, is_open(&stage.state())), (0, true), "killed {}", point.what);
        runs(true);
        pass(&stage, &wish);
        let state = stage.state();
        assert_eq!(at_rest(&state), Ok(Some("v2".to_owned())), "killed {}", point.what);
        assert_eq!(standing(&state), Standing::default(), "killed {}", point.what);
    }
}

/// Stops nginx when the release is about to be judged through it.
struct Stops<'a>(&'a Stage);

impl Report for Stops<'_> {
    fn event(&self, event: &Event<'_>) {
        if let Event::Working { phase: Phase::Verify, .. } = event {
            self.0.host.machine.state.borrow_mut().front.running = false;
        }
    }
}

#[test]
fn a_release_stays_whose_nginx_does_not_come_back_in_time() {
    let release = Release::good("v2");
    let stage = Stage::new(after(&[Release::good("v1")]));
    let stops = Stops(&stage);
    let cx = Context { report: &stops, ..stage.cx() };
    let installed = transaction::installed(&cx, &name(), &BTreeMap::new()).expect("v1");
    let going = Going::Forward { wanted: Box::new(release.wanted()), why: Why::Push };
    let begun = stage.state().clock;
    let Released::Open(failure) = transaction::go(&cx, &installed, &going) else { panic!("it is judged") };
    assert!(failure.cause.ends_with("v2 itself does, in slot b"), "{failure}");
    let state = stage.state();
    assert!(is_open(&state) && state.clock.saturating_sub(begun) >= Duration::from_secs(30));
    assert_eq!(state.services.running().count(), 2, "what served before is there for a rollback");
    stage.host.machine.state.borrow_mut().front.running = true;
    pass(&stage, &Wish::Release(release));
    let state = stage.state();
    assert_eq!((at_rest(&state), standing(&state)), (Ok(Some("v2".to_owned())), Standing::default()));
}

/// What failed by the host's fault is tried again on another one.
#[test]
fn an_nginx_that_was_started_anew_is_another_host() {
    let stage = Stage::new(after(&[Release::good("v1")]));
    let print = || transaction::host_print(&stage.cx(), &Release::good("v1").wanted());
    let before = print();
    assert_eq!(print(), before);
    let mut state = stage.state();
    state.front.boot(&state.storage, &layout());
    *stage.host.machine.state.borrow_mut() = state;
    assert_ne!(print(), before);
}
