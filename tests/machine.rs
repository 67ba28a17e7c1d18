//! Scenarios on the machine: a history of events, and what it answers.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing has to fail")]

#[path = "machine/by_hand.rs"]
mod by_hand;
#[path = "machine/commands.rs"]
mod commands;
#[path = "machine/reload.rs"]
mod reload;
#[path = "machine/spec.rs"]
mod spec;
#[path = "machine/waiting.rs"]
mod waiting;

use pisup::machine::plan::Planned;
use pisup::machine::spec::{Conditions, Gates, Kind, Policy, Readiness, Restart, Stop, Use};
use pisup::machine::{
    Action, Cause, Event, Exit, Hold, Machine, Run, Spec, State, Tick, UnitId, Want,
};

use spec::spec;

const ETCD: UnitId = UnitId(0);
const CONFIG: UnitId = UnitId(1);
const FLANNEL: UnitId = UnitId(2);
const DOCKER: UnitId = UnitId(3);
const KUBELET: UnitId = UnitId(4);
const PROXY: UnitId = UnitId(5);

/// The how-to's chain, without its bootstrap daemon.
fn chain() -> Vec<Spec> {
    let subnet = Use { unit: FLANNEL, key: "FLANNEL_SUBNET".to_owned() };
    vec![
        spec("etcd"),
        Spec { kind: Kind::Oneshot, requires: vec![ETCD], ..spec("flannel-config") },
        Spec {
            requires: vec![CONFIG],
            exports: vec!["FLANNEL_SUBNET".to_owned()],
            ..spec("flannel")
        },
        Spec {
            requires: vec![FLANNEL],
            uses: vec![subnet],
            prepare_ms: vec![Some(30_000)],
            ..spec("docker")
        },
        Spec { binds: vec![DOCKER], ..spec("kubelet") },
        Spec { binds: vec![DOCKER], after: vec![KUBELET], ..spec("kube-proxy") },
    ]
}

/// A machine in a world that answers at once and well.
struct World {
    machine: Machine,
    now: Tick,
    log: Vec<String>,
}

impl World {
    fn new(specs: Vec<Spec>) -> Self {
        Self { machine: Machine::new(specs, 1), now: Tick(1_000_000), log: vec![] }
    }

    fn feed(&mut self, event: Event) {
        let mut todo: std::collections::VecDeque<Action> =
            self.machine.step(event, self.now).into();
        while let Some(action) = todo.pop_front() {
            let name = |unit: UnitId| self.machine.name(unit).to_owned();
            let answers = match action {
                Action::Prepare(unit, run, step) => {
                    self.log.push(format!("prepare {}", name(unit)));
                    vec![Event::Prepared(unit, run, step, Ok(()))]
                }
                Action::Spawn(unit, run) => {
                    self.log.push(format!("start {}", name(unit)));
                    let spec = self.machine.spec(unit).unwrap().clone();
                    let mut answers = vec![Event::Spawned(unit, run)];
                    if spec.kind == Kind::Oneshot {
                        answers.push(Event::Exited(unit, run, Exit::Code(0)));
                    }
                    if unit == FLANNEL && spec.name == "flannel" && self.value().is_none() {
                        answers.insert(0, self.subnet("10.1.78.1/24"));
                    }
                    answers
                }
                Action::Terminate(unit, run) => {
                    self.log.push(format!("stop {}", name(unit)));
                    vec![Event::Exited(unit, run, Exit::Code(0))]
                }
                Action::Kill(unit, run) => {
                    self.log.push(format!("kill {}", name(unit)));
                    vec![Event::Exited(unit, run, Exit::Signal(9))]
                }
                Action::Look(unit) => vec![Event::World(unit, Conditions::NONE)],
                Action::Sweep(unit, run) => vec![Event::Swept(unit, run)],
                Action::Refused(unit, _) => {
                    self.log.push(format!("refused {}", name(unit)));
                    vec![]
                }
                Action::Halt(_) => {
                    self.log.push("halt".to_owned());
                    vec![]
                }
                Action::Release(..) | Action::Changed { .. } | Action::Note(..) => vec![],
            };
            for answer in answers {
                todo.extend(self.machine.step(answer, self.now));
            }
        }
    }

    fn value(&self) -> Option<&str> {
        self.machine.value(FLANNEL, "FLANNEL_SUBNET")
    }

    fn subnet(&self, value: &str) -> Event {
        Event::Exports(FLANNEL, [("FLANNEL_SUBNET".to_owned(), value.to_owned())].into())
    }

    fn run(&self, unit: UnitId) -> Run {
        self.machine.unit(unit).unwrap().run().unwrap()
    }

    fn state(&self, unit: UnitId) -> State {
        self.machine.unit(unit).unwrap().state()
    }

    fn states(&self) -> Vec<&'static str> {
        self.machine.units().map(|(_, _, state)| state.state().word()).collect()
    }

    fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now.after(ms);
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.feed(Event::Timer);
        }
        self.now = end;
    }
}

fn booted() -> World {
    let mut world = World::new(chain());
    world.feed(Event::Boot);
    world.take_log();
    world
}

fn told(machine: &Machine, plan: &[Planned]) -> Vec<String> {
    plan.iter()
        .map(|step| {
            let condition = step.condition_text().map(|text| format!(" if {text}"));
            format!(
                "{} {}{}",
                step.what.word(),
                machine.name(step.unit),
                condition.unwrap_or_default()
            )
        })
        .collect()
}

#[test]
fn the_chain_starts_in_order() {
    let mut world = World::new(chain());
    world.feed(Event::Boot);
    let wanted = [
        "start etcd",
        "start flannel-config",
        "start flannel",
        "prepare docker",
        "start docker",
        "start kubelet",
        "start kube-proxy",
    ];
    assert_eq!(world.log, wanted);
    assert_eq!(world.states(), ["ready", "done", "ready", "ready", "ready", "ready"]);
    assert_eq!(world.machine.next_deadline(), None, "an idle machine wants nothing");
}

#[test]
fn a_restart_with_the_same_value_moves_nobody_else() {
    let mut world = booted();
    let docker = world.run(DOCKER);
    world.feed(Event::Restart(FLANNEL));
    assert_eq!(world.take_log(), ["stop flannel", "start flannel"]);
    assert_eq!(world.run(DOCKER), docker);
}

const CASCADE: [&str; 7] = [
    "stop kube-proxy",
    "stop kubelet",
    "stop docker",
    "prepare docker",
    "start docker",
    "start kubelet",
    "start kube-proxy",
];

#[test]
fn a_changed_value_bounces_its_users_in_order() {
    let mut world = booted();
    world.feed(world.subnet("10.1.99.1/24"));
    assert_eq!(world.take_log(), CASCADE);
    let used = world.machine.value_in_use(DOCKER, FLANNEL, "FLANNEL_SUBNET");
    assert_eq!(used, Some("10.1.99.1/24"));
}

#[test]
fn the_plan_of_a_restart_says_what_may_follow() {
    let world = booted();
    let plan = world.machine.plan(&[Event::Restart(FLANNEL)], world.now);
    let mut wanted = vec!["stop flannel".to_owned(), "start flannel".to_owned()];
    wanted.extend(CASCADE.iter().map(|step| format!("{step} if FLANNEL_SUBNET changes")));
    assert_eq!(told(&world.machine, &plan), wanted);
}

#[test]
fn a_stop_takes_its_dependents_first_and_a_start_brings_them_back() {
    let mut world = booted();
    let plan = world.machine.plan(&[Event::Stop(ETCD)], world.now);
    world.feed(Event::Stop(ETCD));
    let wanted = ["stop kube-proxy", "stop kubelet", "stop docker", "stop flannel", "stop etcd"];
    assert_eq!(told(&world.machine, &plan), wanted);
    assert_eq!(world.take_log(), wanted);
    assert_eq!(world.states(), ["down", "waiting", "waiting", "waiting", "waiting", "waiting"]);
    world.feed(Event::Stop(PROXY));
    world.feed(Event::Start(ETCD));
    assert_eq!(world.states(), ["ready", "done", "ready", "ready", "ready", "down"]);
    world.feed(Event::Start(PROXY));
    assert_eq!(world.state(PROXY), State::Ready);
}

#[test]
fn a_start_by_name_pulls_all_that_it_needs() {
    let mut world =
        World::new(chain().into_iter().map(|s| Spec { is_enabled: false, ..s }).collect());
    world.feed(Event::Boot);
    assert_eq!(world.states(), ["down"; 6]);
    world.feed(Event::Start(PROXY));
    assert_eq!(world.states(), ["ready", "done", "ready", "ready", "down", "ready"]);
}

#[test]
fn a_crash_moves_binders_and_nobody_else() {
    let mut world = booted();
    let (etcd, flannel) = (world.run(ETCD), world.run(FLANNEL));
    world.feed(Event::Exited(DOCKER, world.run(DOCKER), Exit::Signal(9)));
    assert_eq!(world.take_log(), ["stop kube-proxy", "stop kubelet"]);
    assert_eq!(world.state(DOCKER), State::Backoff);
    world.pass(1000);
    assert_eq!(world.state(PROXY), State::Ready);
    assert_eq!((world.run(ETCD), world.run(FLANNEL)), (etcd, flannel));
    world.feed(Event::Exited(FLANNEL, world.run(FLANNEL), Exit::Code(0)));
    world.take_log();
    world.pass(1000);
    assert_eq!(world.take_log(), ["start flannel"]);
}

#[test]
fn stop_beats_backoff_and_start_ends_it() {
    let mut world = booted();
    world.feed(Event::Exited(ETCD, world.run(ETCD), Exit::Code(1)));
    assert_eq!(world.state(ETCD), State::Backoff);
    world.feed(Event::Start(ETCD));
    assert_eq!(world.state(ETCD), State::Ready);
    world.feed(Event::Exited(ETCD, world.run(ETCD), Exit::Code(1)));
    world.feed(Event::Stop(ETCD));
    assert_eq!(world.state(ETCD), State::Down);
    world.pass(600_000);
    assert_eq!(world.state(ETCD), State::Down);
}

#[test]
fn a_unit_that_was_stable_restarts_at_once() {
    let mut world = booted();
    world.pass(10_000);
    world.feed(Event::Exited(ETCD, world.run(ETCD), Exit::Code(1)));
    assert_eq!(world.state(ETCD), State::Ready);
    assert_eq!(world.machine.unit(ETCD).unwrap().failures, 1);
    world.pass(10_000);
    assert_eq!(world.machine.unit(ETCD).unwrap().failures, 0);
}

#[test]
fn shutdown_ends_all_in_reverse_and_halts_once() {
    let mut world = booted();
    world.feed(Event::Shutdown { by: world.now.after(120_000) });
    let wanted =
        ["stop kube-proxy", "stop kubelet", "stop docker", "stop flannel", "stop etcd", "halt"];
    assert_eq!(world.take_log(), wanted);
    world.feed(Event::Start(ETCD));
    assert_eq!(world.take_log(), ["refused etcd"]);
}

#[test]
fn a_step_is_killed_even_where_a_stop_has_no_end() {
    let stop = Stop { timeout_ms: None, sweeps: false };
    let specs = vec![Spec { prepare_ms: vec![Some(30_000)], stop, ..spec("a") }];
    let mut machine = Machine::new(specs, 1);
    let (unit, now) = (UnitId(0), Tick(1_000));
    let _ = machine.step(Event::Boot, now);
    let asked = machine.step(Event::Stop(unit), now);
    assert!(asked.iter().any(|action| matches!(action, Action::Terminate(..))), "{asked:?}");
    let late = machine.next_deadline().unwrap();
    let killed = machine.step(Event::Timer, late);
    assert!(killed.iter().any(|action| matches!(action, Action::Kill(..))), "{killed:?}");
}

#[test]
fn a_run_may_say_how_often_it_says_that_it_is_alive() {
    let readiness = Readiness { gates: Gates::NONE, timeout_ms: None, watchdog_ms: Some(30_000) };
    let mut world = World::new(vec![Spec { readiness, ..spec("a") }]);
    world.feed(Event::Boot);
    let (unit, now) = (UnitId(0), world.now);
    assert_eq!(world.machine.next_deadline(), Some(now.after(30_000)));
    world.feed(Event::AliveEvery(unit, world.run(unit), 5_000));
    assert_eq!(world.machine.next_deadline(), Some(now.after(5_000)));
    world.feed(Event::AliveEvery(unit, world.run(unit), 0));
    assert_eq!(world.machine.next_deadline(), None);
    world.feed(Event::Restart(unit));
    assert_eq!(world.machine.next_deadline(), Some(world.now.after(30_000)), "a new run");
}

#[test]
fn a_shortage_is_tried_again_whatever_the_policy() {
    let restart = Restart { policy: Policy::Never, ..spec("a").restart };
    let specs = vec![Spec { restart, prepare_ms: vec![Some(30_000)], ..spec("a") }];
    let (unit, now) = (UnitId(0), Tick(1_000));
    let mut machine = Machine::new(specs, 1);
    let _ = machine.step(Event::Boot, now);
    let run = |machine: &Machine| machine.unit(unit).unwrap().run().unwrap();
    let short = Event::Short(unit, run(&machine), "no memory".to_owned());
    let _ = machine.step(short, now);
    assert_eq!(machine.unit(unit).unwrap().state(), State::Backoff, "for a step");
    let late = machine.next_deadline().unwrap();
    let _ = machine.step(Event::Timer, late);
    let first = run(&machine);
    let _ = machine.step(Event::Prepared(unit, first, 0, Ok(())), late);
    let _ = machine.step(Event::Short(unit, first, "no memory".to_owned()), late);
    assert_eq!(machine.unit(unit).unwrap().state(), State::Backoff, "for the process");
    let late = machine.next_deadline().unwrap();
    let _ = machine.step(Event::Timer, late);
    let second = run(&machine);
    let _ = machine.step(Event::Prepared(unit, second, 0, Ok(())), late);
    let _ = machine.step(Event::SpawnFailed(unit, second, "no such file".to_owned()), late);
    assert_eq!(machine.unit(unit).unwrap().state(), State::Failed);
}

#[test]
fn stale_events_move_nothing() {
    let mut world = booted();
    let old = world.run(DOCKER);
    world.feed(Event::Restart(DOCKER));
    world.take_log();
    let before = world.machine.clone();
    for event in [
        Event::Exited(DOCKER, old, Exit::Code(0)),
        Event::Spawned(DOCKER, old),
        Event::SpawnFailed(DOCKER, old, String::new()),
        Event::Swept(DOCKER, old),
        Event::Unhealthy(DOCKER, old, String::new()),
        Event::Prepared(DOCKER, old, 0, Err(String::new())),
        Event::StepLost(DOCKER, old, 0),
    ] {
        world.feed(event);
    }
    assert_eq!(world.machine, before);
}

#[test]
fn what_is_born_behind_the_deadline_is_killed_at_once() {
    let mut machine = Machine::new(chain(), 1);
    machine.step(Event::Boot, Tick(0));
    let run = machine.unit(ETCD).unwrap().run().unwrap();
    machine.step(Event::Shutdown { by: Tick(120_000) }, Tick(0));
    machine.step(Event::Timer, Tick(120_000));
    let actions = machine.step(Event::Spawned(ETCD, run), Tick(121_000));
    assert_eq!(actions, [Action::Kill(ETCD, run)]);
}
