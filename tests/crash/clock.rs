//! What is to end in two hours ends in two hours, wherever the clock on the wall is set meanwhile, in one boot and over a reboot.

use crate::site::{Stage, layout, name};
use crate::step::{Behaviour, Step};
use crate::world::World;

/// Ten years, and a day, either way.
const LEAPS: [i64; 4] = [3_650, -3_650, 1, -1];

fn live(world: &mut World, steps: &[Step]) {
    for step in steps {
        world.live(step).unwrap_or_else(|why| panic!("{step:?}: {why}"));
    }
}

fn suspended() -> World {
    let mut world = World::new();
    live(&mut world, &[Step::Push(Behaviour::Well), Step::Suspend(Some(2))]);
    assert!(world.serves().is_some());
    world
}

/// It serves what it did, for an hour and a half at least and for two hours at most.
fn ends(mut world: World, case: &str) {
    let first = world.serves();
    live(&mut world, &[Step::Push(Behaviour::Well), Step::Wait(90)]);
    assert_eq!(world.serves(), first, "{case}");
    live(&mut world, &[Step::Wait(40)]);
    assert_ne!(world.serves(), first, "{case}");
}

#[test]
fn a_clock_that_is_set_neither_ends_a_suspension_nor_prolongs_it() {
    for days in LEAPS {
        let mut world = suspended();
        live(&mut world, &[Step::Clock(days)]);
        ends(world, &format!("{days} days"));
    }
}

#[test]
fn a_clock_that_is_set_after_a_reboot_does_not_either() {
    for days in LEAPS {
        let mut world = suspended();
        live(&mut world, &[Step::Reboot(0), Step::Clock(days)]);
        ends(world, &format!("{days} days"));
    }
}

#[test]
fn a_clock_that_is_put_right_at_a_reboot_prolongs_no_suspension() {
    let mut world = World::new();
    live(&mut world, &[Step::Push(Behaviour::Well), Step::Clock(3_650), Step::Suspend(Some(2)), Step::Reboot(-3_650)]);
    ends(world, "ordered ten years ahead");
}

/// As one who took it off the host can have it back.
fn is_kept(world: &World) -> bool {
    let stage = Stage::new(world.state.clone());
    !stage.cx().host.files().list(&layout().env_generations(&name())).expect("it is read").is_empty()
        && stage.cx().host.files().list(&layout().generation(&name(), 1)).is_ok_and(|files| !files.is_empty())
}

#[test]
fn a_reboot_by_another_clock_neither_ends_a_grace_nor_prolongs_it() {
    for days in [0, 3_650, -3_650] {
        let mut world = World::new();
        live(&mut world, &[Step::Push(Behaviour::Well), Step::Remove(60), Step::Wait(10), Step::Reboot(days)]);
        live(&mut world, &[Step::Wait(50)]);
        assert!(is_kept(&world), "{days} days: its grace begins anew");
        live(&mut world, &[Step::Clock(-days), Step::Wait(5)]);
        assert!(is_kept(&world), "{days} days and back");
        live(&mut world, &[Step::Wait(5)]);
        assert!(!is_kept(&world), "{days} days");
    }
}
