//! Somebody stops it, and his command is killed: what was ordered is what comes, or nothing of it.

use portreeve::agent::Order;
use portreeve::policy::HoldKind;

use crate::program::{Wish, give, pass};
use crate::scenarios::standing;
use crate::site::{Release, Stage, bare, layout, name};

#[test]
fn an_order_to_stop_that_is_killed_is_carried_out_by_the_next_pass_or_was_never_given() {
    let wish = Wish::Release(Release::good("v1"));
    let stage = Stage::new(bare());
    pass(&stage, &wish);
    let before = stage.state();
    let stage = Stage::new(before);
    stage.host.machine.watch();
    give(&stage, Order::Stop).expect("it is stopped");
    let points = stage.host.machine.points();
    let mut stopped = 0;
    for point in &points {
        let stage = Stage::new(point.state.clone());
        pass(&stage, &wish);
        stage.host.machine.watch();
        let state = stage.state();
        let ordered = standing(&state).holds().any(|hold| hold.kind == HoldKind::Stopped);
        let running = state.services.running().count();
        assert_eq!(running == 0, ordered, "killed {}", point.what);
        let flag = state.storage.exists(&layout().stopped_flag(&name()));
        assert!(flag || !ordered, "killed {}: a reboot starts it", point.what);
        stopped += usize::from(ordered);
        let log = || stage.host.machine.log.borrow().len();
        let done = log();
        pass(&stage, &wish);
        assert_eq!(log(), done, "killed {}: the next pass has nothing to do", point.what);
    }
    assert!(stopped > 2 && stopped < points.len(), "{stopped} of {} points", points.len());
}
