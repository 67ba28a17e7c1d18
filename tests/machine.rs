//! Scenarios on the machine: a history of events, and what it answers.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing has to fail")]

use pisup::machine::plan::Planned;
use pisup::machine::spec::{Conditions, Gates, Kind, Policy, Readiness, Restart, Stop, Use};
use pisup::machine::{Action, Event, Exit, Machine, Run, Spec, State, Tick, UnitId, Want};

fn spec(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        kind: Kind::Service,
        requires: vec![],
        binds: vec![],
        wants: vec![],
        after: vec![],
        conflicts: vec![],
        uses: vec![],
        exports: vec![],
        is_enabled: true,
        conditions: Conditions::NONE,
        conditions_timeout_ms: None,
        prepare_ms: vec![],
        readiness: Readiness { gates: Gates::NONE, timeout_ms: Some(600_000), watchdog_ms: None },
        restart: Restart {
            policy: Policy::Always,
            delay_ms: 1000,
            max_delay_ms: 60_000,
            stable_ms: 10_000,
            degraded_after: 5,
            fatal_exit_codes: vec![],
            has_jitter: false,
        },
        stop: Stop { timeout_ms: Some(10_000), sweeps: false },
    }
}

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
    ] {
        world.feed(event);
    }
    assert_eq!(world.machine, before);
}

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
