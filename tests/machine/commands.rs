//! Commands that come at a bad moment: they count all the same.

use super::*;

const A: UnitId = UnitId(0);
const B: UnitId = UnitId(1);

/// One unit, ready, whose processes end only when a test says so.
struct Slow(Machine);

impl Slow {
    fn ready(spec: Spec) -> Self {
        let kind = spec.kind;
        let mut slow = Self(Machine::new(vec![spec], 1));
        slow.step(Event::Boot);
        let run = slow.run();
        slow.step(Event::Spawned(A, run));
        assert_eq!(
            slow.state(),
            if kind == Kind::Service { State::Ready } else { State::Starting }
        );
        slow
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        self.0.step(event, NOW)
    }

    fn run(&self) -> Run {
        self.0.unit(A).unwrap().run().unwrap()
    }

    fn state(&self) -> State {
        self.0.unit(A).unwrap().state()
    }
}

const NOW: Tick = Tick(1_000_000);

fn never(kind: Kind) -> Spec {
    let restart = Restart { policy: Policy::Never, ..spec("a").restart };
    Spec { kind, restart, stop: Stop { timeout_ms: None, sweeps: true }, ..spec("a") }
}

#[test]
fn a_start_counts_while_a_failed_run_still_stops() {
    for command in [Event::Start(A), Event::Restart(A)] {
        let mut slow = Slow::ready(never(Kind::Service));
        let run = slow.run();
        slow.step(Event::Unhealthy(A, run, "mute".to_owned()));
        slow.step(command);
        slow.step(Event::Exited(A, run, Exit::Code(0)));
        slow.step(Event::Swept(A, run));
        assert_eq!(slow.state(), State::Starting, "it was to fail for good");
    }
}

#[test]
fn a_start_counts_while_a_unit_that_ended_in_peace_is_swept() {
    let restart = Restart { policy: Policy::OnFailure, ..spec("a").restart };
    let mut slow = Slow::ready(Spec { restart, ..never(Kind::Service) });
    let run = slow.run();
    slow.step(Event::Exited(A, run, Exit::Code(0)));
    slow.step(Event::Start(A));
    slow.step(Event::Swept(A, run));
    assert_eq!(slow.state(), State::Starting, "it was to rest");
}

#[test]
fn a_oneshot_that_is_swept_runs_again_for_a_restart_and_not_for_a_start() {
    for (command, state) in [(Event::Start(A), State::Done), (Event::Restart(A), State::Starting)] {
        let mut slow = Slow::ready(never(Kind::Oneshot));
        let run = slow.run();
        slow.step(Event::Exited(A, run, Exit::Code(0)));
        slow.step(command);
        slow.step(Event::Swept(A, run));
        assert_eq!(slow.state(), state);
    }
}

#[test]
fn a_wait_that_only_a_command_can_end_is_told_from_afar() {
    let failing = Restart { policy: Policy::Never, ..spec("a").restart };
    let mut world = World::new(vec![
        Spec { restart: failing, ..spec("a") },
        Spec { requires: vec![A], ..spec("b") },
        Spec { requires: vec![B], ..spec("c") },
    ]);
    let c = UnitId(2);
    world.feed(Event::Boot);
    world.feed(Event::Stop(B));
    world.feed(Event::Exited(A, world.run(A), Exit::Code(1)));
    assert_eq!((world.state(A), world.state(c)), (State::Failed, State::Waiting));
    assert_eq!(world.machine.dead_end(c), Some(&Hold::Stopped(B)));
    assert_eq!(world.machine.dead_end(B), None, "it does not wait");

    world.machine.step(Event::Start(c), world.now);
    assert_eq!(world.machine.dead_end(c), None, "a starts again, and all may go well");
    world.machine.step(Event::SpawnFailed(A, world.run(A), "no".to_owned()), world.now);
    assert_eq!(world.machine.dead_end(c), Some(&Hold::Broken(A)), "by way of b");
}
