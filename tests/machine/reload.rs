//! A new table of units under a running machine.

use pisup::machine::spec::Condition;

use super::*;

impl World {
    fn reload(&mut self, specs: Vec<Spec>) -> Vec<Action> {
        self.machine.reload(specs, &[], self.now).0
    }

    fn named(&self, name: &str) -> UnitId {
        self.machine.find(name).unwrap()
    }
}

/// Two ready units, and a machine that has just been told that the second is gone.
fn retiring() -> (World, Run) {
    let mut world = World::new(vec![spec("a"), spec("b")]);
    world.feed(Event::Boot);
    let run = world.run(UnitId(1));
    let actions = world.reload(vec![spec("a")]);
    assert!(actions.contains(&Action::Terminate(UnitId(1), run)));
    (world, run)
}

#[test]
fn a_unit_that_is_removed_and_added_again_while_it_stops_comes_back() {
    let (mut world, run) = retiring();
    world.reload(vec![spec("a"), spec("b"), spec("c")]);
    let b = world.named("b");
    world.feed(Event::Exited(b, run, Exit::Code(0)));
    assert_eq!(world.state(b), State::Ready);
}

#[test]
fn a_unit_that_comes_back_disabled_stays_down() {
    let (mut world, run) = retiring();
    world.reload(vec![spec("a"), Spec { is_enabled: false, ..spec("b") }]);
    let b = world.named("b");
    world.feed(Event::Exited(b, run, Exit::Code(0)));
    assert_eq!(world.state(b), State::Down);
    world.feed(Event::Start(b));
    assert_eq!(world.state(b), State::Ready);
}

#[test]
fn a_new_unit_does_not_start_what_was_stopped_by_name() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut world = World::new(vec![spec("a")]);
        world.feed(Event::Boot);
        world.feed(Event::Stop(UnitId(0)));
        let index = names.iter().position(|name| *name == "a").unwrap();
        let a = UnitId(u16::try_from(index).unwrap());
        let specs = names.map(|name| match name {
            "b" => Spec { requires: vec![a], ..spec("b") },
            _ => spec("a"),
        });
        world.reload(specs.to_vec());
        let states = ["a", "b"].map(|name| world.state(world.named(name)));
        assert_eq!(states, [State::Down, State::Waiting]);
    }
}

#[test]
fn a_condition_that_is_new_to_a_waiting_unit_is_looked_at() {
    let route = Conditions::NONE.with(Condition::Route);
    let waiting = Spec { requires: vec![UnitId(0)], ..spec("b") };
    let with_route = Spec { conditions: route, ..waiting.clone() };
    let mut world = World::new(vec![spec("a"), waiting]);
    world.feed(Event::Boot);
    world.feed(Event::Stop(UnitId(0)));
    assert_eq!(world.reload(vec![spec("a"), with_route.clone()]), [], "a holds it first");
    let run = world.machine.step(Event::Start(UnitId(0)), world.now);
    assert!(!run.contains(&Action::Look(UnitId(1))));
    let run = world.run(UnitId(0));
    let actions = world.machine.step(Event::Spawned(UnitId(0), run), world.now);
    assert!(actions.contains(&Action::Look(UnitId(1))));

    // It waits for nothing else now, and who listened for it may have other ids.
    assert_eq!(world.reload(vec![spec("a"), with_route]), [Action::Look(UnitId(1))]);
    world.feed(Event::World(UnitId(1), Conditions::NONE));
    assert_eq!(world.state(UnitId(1)), State::Ready);
}
