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
