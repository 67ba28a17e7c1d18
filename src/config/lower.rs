//! One unit's file to one unit of the plan: defaults, and what makes no sense together.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::machine::spec::{Condition, Conditions, Kind, Policy, Restart, Spec, Stop};

use super::graph::Edges;
use super::head::Head;
use super::node::Site;
use super::plan::{
    Cgroup, ClockWait, Exports, KillScope, LogSpec, Reload, RouteWait, Stop as StopPlan, Unit, Wait,
};
use super::read::Section;
use super::scalar::{self, Parsed};
use super::template::{Peers, Scope};
use super::{job, ready};

/// The shortest pause between two tries: a unit that can not start must not eat the CPU.
const LEAST_DELAY_MS: u64 = 100;

/// The shortest life that makes up for failures before it: a unit that had it restarts at once.
const LEAST_STABLE_MS: u64 = 1000;

/// Output kept in RAM: a few hundred lines, times the dozen of units that a node has.
const RING_BYTES: u64 = 256 << 10;

/// Output of one unit never takes more of a Pi's memory.
const RING_RANGE: std::ops::RangeInclusive<u64> = 4 << 10..=16 << 20;

/// Defaults of `rotate-size` and `rotate-keep`.
const ROTATE_BYTES: u64 = 1 << 20;
const ROTATE_KEEP: u32 = 3;

/// As long as a stop may take elsewhere: who reads its files again is not to be cut off.
const RELOAD_MS: u64 = 90_000;

/// SIGTERM.
const TERM: i32 = 15;

/// Lowers a unit; `None` when something is wrong, which is told.
pub(super) fn unit(head: &Head<'_>, edges: Edges, site: &Site, peers: &Peers<'_>) -> Option<Unit> {
    let document = head.document.as_ref()?;
    let section = |name| Section::of(head.file, document, name);
    let scope = Scope {
        site,
        peers,
        needs: head.requires.iter().chain(&head.binds).map(|word| word.text).collect(),
        is_present: head.is_present,
        uses: RefCell::default(),
    };
    let (command, container) = (section("command"), section("container"));
    let sockets = job::sockets(head.name, &section("socket"), &scope);
    if container.is_there() && section("socket").is_there() {
        let help = "leave it out: the container's engine opens its ports";
        section("socket").fault("", "[socket] of a container", help);
    }
    let job = job::job(head.name, &command, &container, &scope);
    let prepared = Section::all(head.file, document, "prepare");
    let (prepare, prepare_ms) = job::prepare(&prepared, &scope);
    let host =
        ready::Host { kind: head.kind, is_container: container.is_there(), sockets: sockets.len() };
    let ready = ready::lower(&section("ready"), &section("health"), &scope, &host);
    let (wait, conditions) = wait(&section("wait"), &scope);
    let (stop, stop_timeout_ms) = stop(&section("stop"), &scope);
    let exports = exports(&section("exports"), &scope);
    let reload = reload(head.kind, &section("reload"), &scope);
    let spec = Spec {
        name: head.name.to_owned(),
        kind: head.kind,
        requires: edges.requires,
        binds: edges.binds,
        wants: edges.wants,
        after: edges.after,
        conflicts: edges.conflicts,
        exports: head.exports.iter().flatten().map(|word| word.text.to_owned()).collect(),
        is_enabled: head.is_enabled,
        conditions,
        conditions_timeout_ms: section("wait").limit("timeout", None, 1),
        prepare_ms,
        readiness: ready.readiness,
        restart: restart(head.kind, &section("restart")),
        stop: Stop { timeout_ms: stop_timeout_ms, sweeps: stop.kill != KillScope::Main },
        uses: Vec::new(),
    };
    let (cgroup, log) = (cgroup(&section("cgroup")), log(&section("log"), &scope));
    Some(Unit {
        spec: Spec { uses: scope.uses.into_inner(), ..spec },
        description: head.description.clone(),
        file: head.file.path.to_owned(),
        job: job?,
        wait,
        sockets,
        prepare,
        ready: ready.ready,
        health: ready.health,
        exports,
        stop,
        reload,
        cgroup,
        log,
    })
}

fn wait(section: &Section<'_>, scope: &Scope<'_>) -> (Wait, Conditions) {
    let clocks = [("synced", ClockWait::Synced), ("sane", ClockWait::Sane)];
    let route = section.word("route").and_then(|word| {
        let text = scope.fixed_word(&word)?;
        word.accept(&text, route)
    });
    let wait = Wait {
        clock: section.choice("clock", &clocks),
        route,
        path: scope.fixed_path(section, "path").map(PathBuf::from),
    };
    let mut conditions = Conditions::NONE;
    for (is_asked, condition) in [
        (wait.clock.is_some(), Condition::Clock),
        (wait.route.is_some(), Condition::Route),
        (wait.path.is_some(), Condition::Path),
    ] {
        if is_asked {
            conditions = conditions.with(condition);
        }
    }
    (wait, conditions)
}

fn route(text: &str) -> Parsed<RouteWait> {
    match (text, text.parse()) {
        ("default", _) => Ok(RouteWait::Default),
        (_, Ok(address)) => Ok(RouteWait::To(address)),
        _ => Err("is no route; write \"default\" or an IPv4 address".to_owned()),
    }
}

fn restart(kind: Kind, section: &Section<'_>) -> Restart {
    let policies =
        [("always", Policy::Always), ("on-failure", Policy::OnFailure), ("never", Policy::Never)];
    let policy = section.choice("policy", &policies).unwrap_or(Policy::Always);
    let delay_ms = section.duration("delay", 1000, LEAST_DELAY_MS);
    let max_delay_ms = section.duration("max-delay", delay_ms.max(60_000), LEAST_DELAY_MS);
    if max_delay_ms < delay_ms {
        let help = "`delay` is the first pause, `max-delay` the longest";
        section.fault("max-delay", "`max-delay` is shorter than `delay`", help);
    }
    let codes = section.list("fatal-exit-codes");
    Restart {
        // A oneshot that succeeded is done; to come back for ever is not what it is for.
        policy: match (kind, policy) {
            (Kind::Oneshot, Policy::Always) => Policy::OnFailure,
            _ => policy,
        },
        delay_ms,
        max_delay_ms,
        stable_ms: section.duration("stable", 10_000, LEAST_STABLE_MS),
        degraded_after: section.integer("degraded-after", 0..=1_000_000).unwrap_or(5),
        fatal_exit_codes: codes.iter().filter_map(|code| code.integer(1..=255)).collect(),
        has_jitter: true,
    }
}

fn stop(section: &Section<'_>, scope: &Scope<'_>) -> (StopPlan, Option<u64>) {
    let scopes =
        [("tree", KillScope::Tree), ("group", KillScope::Group), ("main", KillScope::Main)];
    if section.has("signal") && section.has("exec") {
        section.fault("exec", "both `signal` and `exec` in [stop]", "leave one of them out");
    }
    let stop = StopPlan {
        signal: section.parse_number("signal", scalar::signal).unwrap_or(TERM),
        kill: section.choice("kill", &scopes).unwrap_or(KillScope::Tree),
        exec: if section.list("exec").is_empty() {
            Vec::new()
        } else {
            scope.exec(section, "exec")
        },
    };
    (stop, section.limit("timeout", Some(10_000), 0))
}

fn reload(kind: Kind, section: &Section<'_>, scope: &Scope<'_>) -> Option<Reload> {
    if !section.is_there() {
        return None;
    }
    if kind == Kind::Oneshot {
        section.fault("", "[reload] of a oneshot", "leave it out: what has ended can not reload");
    }
    let timeout_ms = section.limit("timeout", Some(RELOAD_MS), 100);
    match (section.has("signal"), section.has("exec")) {
        (true, false) => section.parse_number("signal", scalar::signal).map(Reload::Signal),
        (false, true) => Some(Reload::Exec { exec: scope.exec(section, "exec"), timeout_ms }),
        _ => {
            let help = "write signal = \"HUP\" or exec = [\"PROGRAM\"]";
            section.fault("", "[reload] is either `signal` or `exec`", help);
            None
        }
    }
}

fn exports(section: &Section<'_>, scope: &Scope<'_>) -> Option<Exports> {
    if !section.is_there() {
        return None;
    }
    if !section.has("file") {
        section.fault("", "[exports] has no `file`", "write file = \"/run/x.env\"");
    }
    Some(Exports {
        keeps: section.flag("keep"),
        file: PathBuf::from(scope.fixed_path(section, "file")?),
    })
}

fn cgroup(section: &Section<'_>) -> Cgroup {
    Cgroup {
        memory_max: section.parse_number("memory-max", scalar::bound),
        memory_high: section.parse_number("memory-high", scalar::bound),
        cpu_weight: section.integer("cpu-weight", 1..=10_000),
        io_weight: section.integer("io-weight", 1..=10_000),
        pids_max: section.parse_number("pids-max", scalar::count),
        delegate: section.flag("delegate"),
    }
}

fn log(section: &Section<'_>, scope: &Scope<'_>) -> LogSpec {
    let ring_bytes = section.parse_number("ring", ring).unwrap_or(RING_BYTES);
    for key in ["rotate-size", "rotate-keep"] {
        if section.has(key) && !section.has("file") {
            let help = "write file = \"/var/log/x.log\", or leave it out";
            section.fault(key, format!("`{key}` without `file`"), help);
        }
    }
    LogSpec {
        ring_bytes,
        file: scope.fixed_path(section, "file").map(PathBuf::from),
        rotate_bytes: section.parse_number("rotate-size", rotated).unwrap_or(ROTATE_BYTES),
        rotate_keep: section.integer("rotate-keep", 0..=100).unwrap_or(ROTATE_KEEP),
    }
}

fn ring(text: &str) -> Parsed<u64> {
    match scalar::size(text)? {
        bytes if RING_RANGE.contains(&bytes) => Ok(bytes),
        _ => Err("is out of range; write \"4K\" to \"16M\"".to_owned()),
    }
}

fn rotated(text: &str) -> Parsed<u64> {
    match scalar::size(text)? {
        bytes if bytes >= 4 << 10 => Ok(bytes),
        _ => Err("is out of range; write \"4K\" or more".to_owned()),
    }
}
