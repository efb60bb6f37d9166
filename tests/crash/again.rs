//! An order that failed, or was killed, is given again: what is said then outlasts a power cut.

use portreeve::agent::{Order, Target};
use portreeve::policy::Until;
use rustix::io::Errno;

use crate::images::extremes;
use crate::machine::{Refusal, State};
use crate::program::{Wish, give, pass};
use crate::scenarios::after;
use crate::site::{Release, Stage, layout, name};
use crate::step::Behaviour;

/// A machine, and an order that fits it.
type Case = (State, Order);

fn once(state: State, order: Order) -> State {
    let stage = Stage::new(state);
    give(&stage, order).expect("it is carried out");
    stage.host.machine.state.borrow_mut().storage.sync_all();
    stage.state()
}

fn cases() -> Vec<Case> {
    let serves = || after(&["v1", "v2"].map(Release::good));
    let suspend = || Order::Suspend { until: None };
    let refused = {
        let stage = Stage::new(serves());
        pass(&stage, &Wish::Release(Release::new("v3-fails", Behaviour::Fails)));
        stage.state()
    };
    vec![
        (serves(), Order::Stop),
        (once(serves(), Order::Stop), Order::Start),
        (serves(), suspend()),
        (once(serves(), suspend()), Order::Resume),
        (refused, Order::Retry),
        (serves(), Order::Rollback { to: Target::Previous, until: Until::Change }),
        (serves(), Order::Restart),
    ]
}

/// What a boot, and whoever comes then, goes by.
fn lasting(state: &State) -> impl PartialEq + std::fmt::Debug + use<> {
    let (storage, layout, name) = (&state.storage, layout(), name());
    let record = storage.read(&layout.standing(&name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let active = storage.link_text(&layout.active_link(&name)).map(ToOwned::to_owned);
    (record, storage.exists(&layout.stopped_flag(&name)), active, storage.names(&layout.journal()))
}

/// Whether it is carried out.
#[track_caller]
fn outlasts(stage: &Stage, order: &Order, told: &str) -> bool {
    let Ok(said) = give(stage, order.clone()) else { return false };
    let state = stage.state();
    for (image, dark) in extremes(&state) {
        assert_eq!(lasting(&dark), lasting(&state), "{order:?}, {told}, and given again: {said}; {image}");
    }
    true
}

#[test]
fn what_an_order_says_that_is_given_again_after_an_error_outlasts_a_power_cut() {
    for (before, order) in cases() {
        let mut again = 0;
        for call in 0.. {
            let stage = Stage::new(before.clone());
            stage.host.machine.refusal.set(Some(Refusal { call, errno: Errno::IO }));
            give(&stage, order.clone()).ok();
            let Some(what) = stage.host.machine.refused.borrow().clone() else { break };
            again += usize::from(outlasts(&stage, &order, &format!("EIO at {what}")));
        }
        assert!(again > 2, "{order:?}: {again}");
    }
}

#[test]
fn what_an_order_says_that_is_given_again_after_a_kill_outlasts_a_power_cut() {
    for (before, order) in cases() {
        let stage = Stage::new(before);
        stage.host.machine.watch();
        give(&stage, order.clone()).expect("it is carried out");
        let points = stage.host.machine.points();
        let again = points
            .into_iter()
            .filter(|point| outlasts(&Stage::new(point.state.clone()), &order, &format!("killed {}", point.what)));
        assert!(again.count() > 2, "{order:?}");
    }
}
