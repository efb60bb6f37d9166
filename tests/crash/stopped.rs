//! Somebody stops or starts it, and his command is killed: what was ordered is what comes, or nothing of it.

use portreeve::agent::Order;
use portreeve::model::{Slot, SlotId};
use portreeve::policy::HoldKind;
use rustix::io::Errno;

use crate::machine::{Refusal, State};
use crate::program::{Wish, give, pass};
use crate::scenarios::{after, standing};
use crate::site::{Release, Stage, layout, name};

/// The next pass leaves nothing between the two: it is stopped, over a reboot too, or up. Whether it is stopped.
#[track_caller]
fn is_stopped(state: State, told: &str) -> bool {
    let (stage, wish) = (Stage::new(state), Wish::Release(Release::good("v1")));
    pass(&stage, &wish);
    stage.host.machine.watch();
    let state = stage.state();
    let ordered = standing(&state).holds().any(|hold| hold.kind == HoldKind::Stopped);
    assert_eq!(state.services.running().count() == 0, ordered, "{told}");
    let flag = state.storage.exists(&layout().stopped_flag(&name()));
    assert_eq!(flag, ordered, "{told}: a reboot would end it");
    pass(&stage, &wish);
    assert_eq!(*stage.host.machine.log.borrow(), [""; 0], "{told}: the next pass has nothing to do");
    ordered
}

/// After a kill at each point of the order some stay stopped, and some do not.
#[track_caller]
fn is_whole_wherever_it_is_killed(before: State, order: Order) {
    let stage = Stage::new(before);
    stage.host.machine.watch();
    give(&stage, order).expect("it is carried out");
    let points = stage.host.machine.points();
    let count = points.len();
    let stopped =
        points.into_iter().filter(|point| is_stopped(point.state.clone(), &format!("killed {}", point.what))).count();
    assert!(stopped > 2 && stopped < count, "{stopped} of {count} points");
}

#[test]
fn an_order_to_stop_that_is_killed_is_carried_out_by_the_next_pass_or_was_never_given() {
    is_whole_wherever_it_is_killed(after(&[Release::good("v1")]), Order::Stop);
}

#[test]
fn an_order_to_start_that_is_killed_leaves_nothing_stopped_until_the_next_boot() {
    let stage = Stage::new(after(&[Release::good("v1")]));
    give(&stage, Order::Stop).expect("it is stopped");
    is_whole_wherever_it_is_killed(stage.state(), Order::Start);
}

/// Somebody who stops what is down already has nothing else to lose.
#[test]
fn what_was_down_and_could_not_be_stopped_for_good_is_by_the_next_pass() {
    let mut down = after(&[Release::good("v1")]);
    for slot in Slot::BOTH {
        down.services.halt(&SlotId { env: name(), slot });
    }
    let mut stopped = 0;
    for call in 0.. {
        let stage = Stage::new(down.clone());
        stage.host.machine.refusal.set(Some(Refusal { call, errno: Errno::IO }));
        let given = give(&stage, Order::Stop);
        let Some(what) = stage.host.machine.refused.borrow().clone() else { break };
        let is_so = || {
            let state = stage.state();
            state.storage.exists(&layout().stopped_flag(&name())) && state.services.running().count() == 0
        };
        assert!(given.is_err() || is_so(), "EIO at {what}: {given:?}");
        stopped += usize::from(is_stopped(stage.state(), &format!("EIO at {what}: {given:?}")));
    }
    assert!(stopped > 2, "{stopped}");
}
