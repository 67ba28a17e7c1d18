//! Events that come twice, late or not at all: what the walk through all states has found.

use super::*;

/// A machine that is told events one by one; nothing answers by itself.
fn told_by_hand(specs: Vec<Spec>) -> impl FnMut(Event) -> (Vec<Action>, Vec<State>) {
    let mut machine = Machine::new(specs, 1);
    move |event| {
        let actions = machine.step(event, Tick(1_000_000));
        (actions, machine.units().map(|(_, _, state)| state.state()).collect())
    }
}

const FIRST: UnitId = UnitId(0);
const SECOND: UnitId = UnitId(1);
const RUN: Run = Run(1);

fn has_spawn(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Spawn(..)))
}

#[test]
fn a_step_told_twice_does_not_end_the_process_behind_it() {
    let mut tell = told_by_hand(vec![Spec { prepare_ms: vec![None], ..spec("one") }]);
    tell(Event::Boot);
    tell(Event::Prepared(FIRST, RUN, 0, Ok(())));
    tell(Event::Spawned(FIRST, RUN));
    tell(Event::Restart(FIRST));
    let (actions, states) = tell(Event::Prepared(FIRST, RUN, 0, Ok(())));
    assert_eq!((actions, states), (vec![], vec![State::Stopping]));
}

#[test]
fn a_step_whose_end_is_unknown_is_done_once_more() {
    let specs = vec![Spec { prepare_ms: vec![None, Some(5_000)], ..spec("one") }];
    let mut machine = Machine::new(specs, 1);
    let start = Tick(1_000_000);
    machine.step(Event::Boot, start);
    machine.step(Event::Prepared(FIRST, RUN, 0, Ok(())), start);
    let late = start.after(4_000);
    assert_eq!(machine.step(Event::StepLost(FIRST, RUN, 0), late), vec![], "it was done long ago");
    let actions = machine.step(Event::StepLost(FIRST, RUN, 1), late);
    assert_eq!(actions, vec![Action::Prepare(FIRST, RUN, 1)]);
    assert_eq!(machine.next_deadline(), Some(late.after(5_000)));
    assert_eq!(machine.unit(FIRST).unwrap().failures, 0);
    machine.step(Event::Prepared(FIRST, RUN, 1, Ok(())), late);
    assert_eq!(machine.unit(FIRST).unwrap().state(), State::Starting);
}

#[test]
fn a_step_whose_end_is_unknown_is_not_done_while_a_need_is_down() {
    let specs =
        vec![spec("one"), Spec { requires: vec![FIRST], prepare_ms: vec![None], ..spec("two") }];
    let mut tell = told_by_hand(specs);
    tell(Event::Boot);
    tell(Event::Spawned(FIRST, RUN));
    tell(Event::Restart(FIRST));
    let (actions, states) = tell(Event::StepLost(SECOND, Run(2), 0));
    assert!(actions.contains(&Action::Release(SECOND, Run(2))), "{actions:?}");
    assert_eq!(states, [State::Stopping, State::Waiting]);
}

#[test]
fn a_step_whose_end_is_unknown_ends_a_run_that_has_to_end() {
    let mut tell = told_by_hand(vec![Spec { prepare_ms: vec![None], ..spec("one") }]);
    tell(Event::Boot);
    tell(Event::Stop(FIRST));
    let (actions, states) = tell(Event::StepLost(FIRST, RUN, 0));
    assert!(actions.contains(&Action::Release(FIRST, RUN)), "{actions:?}");
    assert_eq!(states, [State::Down]);
}

#[test]
fn a_shutdown_out_of_time_does_not_wait_for_a_birth() {
    let mut machine = Machine::new(vec![spec("one")], 1);
    let start = Tick(1_000_000);
    let by = start.after(120_000);
    machine.step(Event::Boot, start);
    machine.step(Event::Shutdown { by }, start);
    assert_eq!(machine.step(Event::Timer, by), vec![], "there is nothing to kill yet");
    let end = machine.next_deadline().unwrap();
    let mut born = machine.clone();
    assert_eq!(born.step(Event::Spawned(FIRST, RUN), by), vec![Action::Kill(FIRST, RUN)]);
    let actions = machine.step(Event::Timer, end);
    assert!(actions.contains(&Action::Halt(vec![FIRST])), "{actions:?}");
    let actions = machine.step(Event::Spawned(FIRST, RUN), end);
    assert_eq!(actions, vec![Action::Kill(FIRST, RUN)]);
}

#[test]
fn a_start_is_heeded_while_the_last_run_is_swept() {
    let restart = Restart { policy: Policy::Never, ..spec("one").restart };
    let stop = Stop { timeout_ms: None, sweeps: true };
    let mut tell = told_by_hand(vec![Spec { restart, stop, ..spec("one") }]);
    tell(Event::Boot);
    tell(Event::Spawned(FIRST, RUN));
    tell(Event::Exited(FIRST, RUN, Exit::Code(1)));
    tell(Event::Start(FIRST));
    let (actions, states) = tell(Event::Swept(FIRST, RUN));
    assert!(has_spawn(&actions), "{actions:?}");
    assert_eq!(states, [State::Starting]);
}

#[test]
fn a_restart_is_heeded_while_a_oneshot_that_is_done_is_swept() {
    let stop = Stop { timeout_ms: None, sweeps: true };
    let mut tell = told_by_hand(vec![Spec { kind: Kind::Oneshot, stop, ..spec("one") }]);
    tell(Event::Boot);
    tell(Event::Spawned(FIRST, RUN));
    tell(Event::Exited(FIRST, RUN, Exit::Code(0)));
    tell(Event::Restart(FIRST));
    let (actions, states) = tell(Event::Swept(FIRST, RUN));
    assert!(has_spawn(&actions), "{actions:?}");
    assert_eq!(states, [State::Starting]);
}

#[test]
fn rivals_do_not_meet_however_they_are_pulled_in() {
    let rival = |name| Spec { is_enabled: false, ..spec(name) };
    let specs = vec![
        Spec { conflicts: vec![SECOND], ..spec("one") },
        Spec { conflicts: vec![FIRST], ..rival("two") },
        Spec { wants: vec![SECOND], ..spec("three") },
        Spec { requires: vec![SECOND], ..spec("four") },
    ];
    let mut machine = Machine::new(specs, 1);
    let actions = machine.step(Event::Boot, Tick(1_000_000));
    assert!(actions.contains(&Action::Refused(UnitId(3), vec![FIRST])), "{actions:?}");
    let wants: Vec<Want> = machine.units().map(|(_, _, state)| state.want).collect();
    assert_eq!(wants, [Want::On, Want::Idle, Want::On, Want::Idle]);
}

#[test]
fn a_rival_that_will_not_die_is_still_a_rival() {
    let specs = vec![
        Spec { conflicts: vec![SECOND], ..spec("one") },
        Spec { conflicts: vec![FIRST], is_enabled: false, ..spec("two") },
    ];
    let mut machine = Machine::new(specs, 1);
    let mut now = Tick(1_000_000);
    for event in [Event::Boot, Event::Spawned(FIRST, RUN), Event::Stop(FIRST)] {
        machine.step(event, now);
    }
    while let Some(at) = machine.next_deadline() {
        now = at;
        machine.step(Event::Timer, now);
    }
    assert!(machine.unit(FIRST).unwrap().undead.is_some());
    let actions = machine.step(Event::Start(SECOND), now);
    assert_eq!(actions, vec![Action::Refused(SECOND, vec![FIRST])]);
}

#[test]
fn a_oneshot_that_counts_no_more_has_no_values() {
    let uses = vec![Use { unit: FIRST, key: "KEY".to_owned() }];
    let two = Spec { kind: Kind::Oneshot, requires: vec![FIRST], uses, ..spec("two") };
    let mut machine = Machine::new(vec![spec("one"), two], 1);
    let value = [("KEY".to_owned(), "a".to_owned())].into();
    for event in [
        Event::Boot,
        Event::Spawned(FIRST, RUN),
        Event::Exports(FIRST, value),
        Event::Exited(SECOND, Run(2), Exit::Code(0)),
    ] {
        machine.step(event, Tick(1_000_000));
    }
    assert_eq!(machine.value_in_use(SECOND, FIRST, "KEY"), Some("a"));
    machine.step(Event::Stop(SECOND), Tick(1_000_000));
    assert_eq!(machine.value_in_use(SECOND, FIRST, "KEY"), None);
}

#[test]
fn a_step_that_was_never_made_ends_its_run_also_while_that_stops() {
    let mut tell = told_by_hand(vec![Spec { prepare_ms: vec![None], ..spec("one") }]);
    tell(Event::Boot);
    tell(Event::Stop(FIRST));
    let (_, states) = tell(Event::Short(FIRST, RUN, String::new()));
    assert_eq!(states, [State::Down]);
}

#[test]
fn shortages_in_a_row_degrade_a_unit_of_any_policy() {
    let restart = Restart { policy: Policy::Never, degraded_after: 1, ..spec("one").restart };
    let mut tell = told_by_hand(vec![Spec { restart, ..spec("one") }]);
    tell(Event::Boot);
    let (actions, states) = tell(Event::Short(FIRST, RUN, String::new()));
    assert!(actions.contains(&Action::Note(FIRST, Cause::Degraded(1))), "{actions:?}");
    assert_eq!(states, [State::Backoff]);
}
