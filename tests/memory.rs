//! A machine made from what another one remembered goes on as that would have.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing has to fail")]

#[path = "machine/spec.rs"]
mod plain;

use std::collections::BTreeMap;

use pisup::machine::spec::{
    Condition, Conditions, Gate, Gates, Kind, Policy, Readiness, Restart, Stop, Use,
};
use pisup::machine::{
    Action, Body, Event, Exit, Hold, Machine, Memory, Phase, Run, Spec, Tick, UnitId, Want,
};
use pisup::wire::state::{Life, State};
use proptest::prelude::*;
use proptest::sample::Index;

const UNITS: u16 = 4;

fn spec(name: &str) -> Spec {
    let plain = plain::spec(name);
    Spec {
        readiness: Readiness { timeout_ms: Some(60_000), ..plain.readiness },
        restart: Restart {
            degraded_after: 3,
            fatal_exit_codes: vec![7],
            has_jitter: true,
            ..plain.restart
        },
        stop: Stop { sweeps: true, ..plain.stop },
        ..plain
    }
}

/// Four units, each of which may need, bind to, want and use those before it.
fn specs() -> impl Strategy<Value = Vec<Spec>> {
    prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), usize::from(UNITS)).prop_map(
        |bits| {
            (0..UNITS)
                .zip(bits)
                .map(|(number, (links, kind, more))| {
                    let before = |shift: u8| {
                        let is_linked = move |id: &u16| (links >> shift) & 1 << id != 0;
                        (0..number).filter(is_linked).map(UnitId).collect::<Vec<_>>()
                    };
                    let requires = before(0);
                    let binds = if kind & 1 != 0 { before(3) } else { vec![] };
                    let uses = requires.iter().map(|unit| Use { unit: *unit, key: "K".to_owned() });
                    let gates =
                        if kind & 2 != 0 { Gates::NONE.with(Gate::Notify) } else { Gates::NONE };
                    let policy = Policy::ALL.into_iter().cycle().nth(more.into()).unwrap();
                    let base = spec(&format!("u{number}"));
                    Spec {
                        kind: if kind & 4 != 0 { Kind::Oneshot } else { Kind::Service },
                        uses: if kind & 8 != 0 { uses.collect() } else { vec![] },
                        requires,
                        binds,
                        wants: if kind & 16 != 0 { before(5) } else { vec![] },
                        is_enabled: kind & 32 == 0,
                        prepare_ms: vec![Some(5_000); usize::from(more >> 6)],
                        conditions: match more & 32 {
                            0 => Conditions::NONE,
                            _ => Conditions::NONE.with(Condition::Clock),
                        },
                        conditions_timeout_ms: Some(20_000),
                        readiness: Readiness { gates, ..base.readiness.clone() },
                        restart: Restart { policy, ..base.restart.clone() },
                        stop: Stop { sweeps: more & 16 != 0, ..base.stop.clone() },
                        ..base
                    }
                })
                .collect()
        },
    )
}

/// What may happen to a unit as it stands.
fn possible(machine: &Machine, unit: UnitId) -> Vec<Event> {
    let values = |value: &str| -> BTreeMap<_, _> { [("K".to_owned(), value.to_owned())].into() };
    let mut events = vec![
        Event::Start(unit),
        Event::Stop(unit),
        Event::Restart(unit),
        Event::Exports(unit, values("a")),
        Event::Exports(unit, values("b c")),
        Event::Timer,
    ];
    let why = || "why not".to_owned();
    let state = machine.unit(unit).unwrap();
    let (run, mut more) = match (&state.phase, state.undead) {
        (Phase::Preparing { run, step, .. }, _) => (
            *run,
            vec![
                Event::Prepared(unit, *run, *step, Ok(())),
                Event::Prepared(unit, *run, *step, Err(why())),
                Event::StepLost(unit, *run, *step),
            ],
        ),
        (Phase::Starting { run, alive: false, .. }, _)
        | (Phase::Stopping { run, body: Body::Unborn, .. }, _) => (
            *run,
            vec![
                Event::Spawned(unit, *run),
                Event::Spawned(unit, *run),
                Event::SpawnFailed(unit, *run, why()),
                Event::Short(unit, *run, why()),
            ],
        ),
        (Phase::Starting { run, .. } | Phase::Ready { run, .. }, _) => (
            *run,
            vec![
                Event::Held(unit, *run, Gate::Notify),
                Event::Unhealthy(unit, *run, why()),
                Event::Extend(unit, *run, 90_000),
            ],
        ),
        (Phase::Stopping { run, body: Body::Step(step), .. }, _) => {
            let ends = [Event::Prepared(unit, *run, *step, Ok(()))];
            (*run, [ends, [Event::StepLost(unit, *run, *step)]].concat())
        }
        (Phase::Stopping { run, body: Body::Leftovers, .. }, _) => {
            (*run, vec![Event::Swept(unit, *run)])
        }
        (Phase::Stopping { run, .. }, _) => (*run, vec![]),
        (Phase::Waiting { on: Hold::World(_), .. }, None) => {
            (Run(0), vec![Event::World(unit, Conditions::NONE)])
        }
        (_, Some((run, Body::Leftovers))) => (run, vec![Event::Swept(unit, run)]),
        (_, Some((run, _))) => (run, vec![]),
        _ => (Run(0), vec![]),
    };
    if run != Run(0) {
        let exits = [Exit::Code(0), Exit::Code(1), Exit::Code(7), Exit::Signal(9), Exit::Unknown];
        more.extend(exits.map(|exit| Event::Exited(unit, run, exit)));
    }
    // What leads on comes more often than commands.
    for _ in 0..3 {
        events.extend(more.iter().cloned());
    }
    events
}

/// One thing that happens: to whom, which of all that may, and after how long.
type Happening = (u16, Index, u64);

fn happenings(most: usize) -> impl Strategy<Value = Vec<Happening>> {
    let ms = prop_oneof![3 => 0..50_u64, 2 => 50..2_000_u64, 1 => 2_000..70_000_u64];
    prop::collection::vec((0..UNITS, any::<Index>(), ms), 0..most)
}

fn event(machine: &Machine, (unit, index, _): &Happening) -> Event {
    let all = possible(machine, UnitId(*unit));
    index.get(&all).clone()
}

/// A memory as the next supervisor gets it.
fn through_a_file(memory: Memory) -> Memory {
    let lives = vec![Life::default(); memory.units.len()];
    let boot_id = "boot".to_owned();
    let state = State { boot_id, at: Tick(5), changes: 1, memory, lives };
    State::parse(state.render().as_bytes()).unwrap().memory
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nobody_can_tell_that_the_machine_is_another_one(
        specs in specs(), before in happenings(60), after in happenings(30), ends in any::<bool>(),
    ) {
        let mut one = Machine::new(specs.clone(), 7);
        let mut now = Tick(100_000);
        one.step(Event::Boot, now);
        for each in &before {
            now = now.after(each.2);
            one.step(event(&one, each), now);
        }
        if ends {
            one.step(Event::Shutdown { by: now.after(30_000) }, now);
        }
        let memory = through_a_file(one.memory());
        prop_assert_eq!(&memory, &one.memory());
        let (mut two, newcomers) = Machine::resume(specs, 7, &memory, now).unwrap();
        prop_assert_eq!(newcomers, vec![]);
        prop_assert_eq!(two.memory(), one.memory());
        if ends && !one.units().any(|(_, _, state)| state.is_live()) {
            // All was down, and perhaps nobody had said so.
            let asked = two.step(Event::Resumed(vec![]), now);
            prop_assert!(asked.iter().any(|each| matches!(each, Action::Halt(_))), "{asked:?}");
            return Ok(());
        }
        let asked = two.step(Event::Resumed(vec![]), now);
        prop_assert!(asked.iter().all(|each| matches!(each, Action::Look(_))), "{asked:?}");
        prop_assert_eq!(two.memory(), one.memory());
        prop_assert_eq!(two.next_deadline(), one.next_deadline());
        for each in &after {
            now = now.after(each.2);
            let event = event(&one, each);
            prop_assert_eq!(one.step(event.clone(), now), two.step(event, now));
            prop_assert_eq!(two.memory(), one.memory());
        }
    }

    #[test]
    fn under_another_configuration_it_is_a_machine_all_the_same(
        old in specs(), new in specs(), order in any::<prop::sample::Index>(),
        before in happenings(60), after in happenings(30),
    ) {
        let mut one = Machine::new(old, 7);
        let mut now = Tick(100_000);
        one.step(Event::Boot, now);
        for each in &before {
            now = now.after(each.2);
            one.step(event(&one, each), now);
        }
        // One unit is gone and another one is new.
        let mut new = new;
        let gone = order.index(new.len());
        new[gone].name = "another".to_owned();
        let resumed = Machine::resume(new, 7, &through_a_file(one.memory()), now);
        let (mut two, newcomers) = resumed.unwrap();
        prop_assert_eq!(&newcomers, &vec![UnitId(u16::try_from(gone).unwrap())]);
        for (unit, spec, state) in two.units().filter(|(unit, _, _)| !newcomers.contains(unit)) {
            let before = one.unit(one.find(&spec.name).unwrap()).unwrap();
            prop_assert_eq!((state.run(), state.want), (before.run(), before.want), "{:?}", unit);
        }
        two.step(Event::Resumed(newcomers), now);
        for each in &after {
            now = now.after(each.2);
            two.step(event(&two, each), now);
            prop_assert_eq!(two.check(), Ok(()));
        }
    }
}

const A: UnitId = UnitId(0);

#[test]
fn a_sign_of_life_is_due_anew_for_nobody_could_hear_one() {
    let readiness = Readiness { watchdog_ms: Some(5_000), ..spec("a").readiness };
    let specs = vec![Spec { readiness, ..spec("a") }];
    let mut one = Machine::new(specs.clone(), 1);
    one.step(Event::Boot, Tick(1_000));
    one.step(Event::Spawned(A, Run(1)), Tick(1_000));
    assert_eq!(one.next_deadline(), Some(Tick(6_000)));
    let (two, _) = Machine::resume(specs, 1, &one.memory(), Tick(9_000)).unwrap();
    assert_eq!(two.next_deadline(), Some(Tick(14_000)));
}

#[test]
fn what_was_stopped_stays_so_and_what_is_new_starts() {
    let specs = vec![spec("a"), Spec { is_enabled: false, ..spec("b") }];
    let mut one = Machine::new(specs, 1);
    one.step(Event::Boot, Tick(1));
    one.step(Event::Spawned(A, Run(1)), Tick(1));
    one.step(Event::Stop(A), Tick(1));
    one.step(Event::Exited(A, Run(1), Exit::Code(0)), Tick(2));
    one.step(Event::Swept(A, Run(1)), Tick(2));
    one.step(Event::Start(UnitId(1)), Tick(3));
    // The order is another one, and there is one more.
    let specs = vec![spec("new"), Spec { is_enabled: false, ..spec("b") }, spec("a")];
    let (mut two, newcomers) = Machine::resume(specs, 1, &one.memory(), Tick(5)).unwrap();
    let wants: Vec<Want> = two.units().map(|(_, _, state)| state.want).collect();
    assert_eq!(wants, [Want::Idle, Want::On, Want::Stopped]);
    assert_eq!(newcomers, [A]);
    let actions = two.step(Event::Resumed(newcomers), Tick(5));
    assert!(actions.contains(&Action::Spawn(A, Run(3))), "{actions:?}");
    assert_eq!(two.unit(UnitId(2)).unwrap().phase, Phase::Down);
}

#[test]
fn what_cannot_be_is_refused() {
    let specs = vec![spec("a"), spec("b")];
    let mut one = Machine::new(specs.clone(), 1);
    one.step(Event::Boot, Tick(1));
    let mut memory = one.memory();
    memory.units[1].state.phase = memory.units[0].state.phase.clone();
    let refused = Machine::resume(specs.clone(), 1, &memory, Tick(2)).unwrap_err();
    assert!(refused.contains("share a run"), "{refused}");
    let mut memory = one.memory();
    memory.units[1].state.want = Want::Stopped;
    assert!(Machine::resume(specs, 1, &memory, Tick(2)).is_err());
}

#[test]
fn a_value_that_changed_while_nobody_watched_bounces_its_users() {
    let uses = vec![Use { unit: A, key: "K".to_owned() }];
    let user = Spec { requires: vec![A], uses, ..spec("user") };
    let specs = vec![spec("a"), user, Spec { requires: vec![A], ..spec("other") }];
    let mut one = Machine::new(specs.clone(), 1);
    let values = |value: &str| Event::Exports(A, [("K".to_owned(), value.to_owned())].into());
    one.step(Event::Boot, Tick(1));
    one.step(values("old"), Tick(1));
    one.step(Event::Spawned(A, Run(1)), Tick(1));
    for number in [1, 2] {
        let run = one.unit(UnitId(number)).unwrap().run().unwrap();
        one.step(Event::Spawned(UnitId(number), run), Tick(2));
    }
    let memory = through_a_file(one.memory());
    let resume = || Machine::resume(specs.clone(), 1, &memory, Tick(3)).unwrap().0;
    assert_eq!(resume().step(Event::Resumed(vec![]), Tick(3)), []);
    assert_eq!(resume().step(values("old"), Tick(3)), []);
    let actions = resume().step(values("new"), Tick(3));
    let told = |action: &Action| match action {
        Action::Terminate(unit, _) => Some(*unit),
        _ => None,
    };
    assert_eq!(actions.iter().filter_map(told).collect::<Vec<_>>(), [UnitId(1)]);
}
