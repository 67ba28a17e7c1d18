//! `[ready]` and `[health]`: how it is known that a service serves.

use crate::machine::spec::{Gate, Gates, Kind, Readiness};

use super::plan::{Health, HttpProbe, Probes, Ready, Text};
use super::read::Section;
use super::scalar::{self, Parsed};
use super::template::{Scope, known};

/// SD cards are slow, and so is a first start.
const READY_MS: u64 = 10 * 60_000;

/// The shortest time between two tries: a probe costs a Pi some milliseconds.
const LEAST_MS: u64 = 100;

/// `ready.fd` starts behind the standard ones and ends where nobody looks.
const FDS: std::ops::RangeInclusive<i64> = 3..=255;

/// What `[ready]` and `[health]` come to.
pub(super) struct Lowered {
    pub(super) ready: Ready,
    pub(super) health: Option<Health>,
    pub(super) readiness: Readiness,
}

/// Lowers both sections of a unit of this kind, in a container or not, with so many sockets.
pub(super) fn lower(
    ready: &Section<'_>,
    health: &Section<'_>,
    scope: &Scope<'_>,
    host: &Host,
) -> Lowered {
    // A container runs when its owner says so, which may have an image to fetch first.
    let has_owner = host.is_container && host.kind == Kind::Service;
    let plan = Ready {
        notify: has_owner || ready.flag("notify"),
        fd: ready.integer("fd", FDS),
        file: scope.path(ready, "file"),
        log: log_line(ready),
        probes: probes(ready, scope, 1000),
    };
    let gates = gates(&plan);
    let watchdog_ms = health.has("watchdog").then(|| health.duration("watchdog", 0, 1000));
    host.check(ready, health, &plan);
    Lowered {
        readiness: Readiness {
            gates,
            timeout_ms: ready.limit("timeout", Some(READY_MS), 1),
            watchdog_ms: watchdog_ms.filter(|ms| *ms > 0),
        },
        health: health.is_there().then(|| lower_health(health, scope)).flatten(),
        ready: plan,
    }
}

/// What the rest of the unit says about what makes sense here.
pub(super) struct Host {
    pub(super) kind: Kind,
    pub(super) is_container: bool,
    pub(super) sockets: usize,
}

impl Host {
    fn check(&self, ready: &Section<'_>, health: &Section<'_>, plan: &Ready) {
        if self.kind == Kind::Oneshot {
            for gate in Gate::ALL.iter().filter(|gate| ready.has(gate.key())) {
                let message = format!("`{}` in the [ready] of a oneshot", gate.key());
                let help = "leave it out: a oneshot is done when it has ended with exit code 0";
                ready.fault(gate.key(), message, help);
            }
            if health.is_there() {
                let help = "leave it out: what has ended has no health";
                health.fault("", "[health] of a oneshot", help);
            }
        }
        if self.is_container {
            let help = "leave it out: a container has neither descriptors nor the notify socket \
                        of the host";
            for key in ["notify", "fd"].into_iter().filter(|key| ready.has(key)) {
                ready.fault(key, format!("`{key}` in the [ready] of a container"), help);
            }
            if health.has("watchdog") {
                health.fault("watchdog", "`watchdog` in the [health] of a container", help);
            }
        }
        let first_free = self.sockets.saturating_add(3);
        let fd = plan.fd.and_then(|fd| usize::try_from(fd).ok());
        if fd.is_some_and(|fd| self.sockets > 0 && fd < first_free) {
            let help = format!("descriptors from {first_free} on are free");
            ready.fault("fd", "`fd` is one of those that [socket] takes", &help);
        }
    }
}

fn gates(ready: &Ready) -> Gates {
    let probes = &ready.probes;
    let held = [
        (ready.notify, Gate::Notify),
        (ready.fd.is_some(), Gate::Fd),
        (ready.file.is_some(), Gate::File),
        (probes.http.is_some(), Gate::Http),
        (probes.tcp.is_some(), Gate::Tcp),
        (probes.unix.is_some(), Gate::Unix),
        (probes.exec.is_some(), Gate::Exec),
        (ready.log.is_some(), Gate::Log),
    ];
    let asked = held.into_iter().filter(|(is_asked, _)| *is_asked);
    asked.fold(Gates::NONE, |gates, (_, gate)| gates.with(gate))
}

/// What a line of output contains; taken as it is.
fn log_line(ready: &Section<'_>) -> Option<String> {
    let word = ready.word("log")?;
    if word.text.is_empty() || word.text.contains('\n') {
        word.fault(format!("{} is no part of a line", word.label), "write a few words of it");
    }
    Some(word.text.to_owned())
}

fn lower_health(section: &Section<'_>, scope: &Scope<'_>) -> Option<Health> {
    let probes = probes(section, scope, 10_000);
    let failures = section.integer("failures", 1..=1000).unwrap_or(3);
    let restarts = section.choice("action", &[("restart", true), ("report", false)]);
    let asks = ["http", "tcp", "unix", "exec"].iter().any(|key| section.has(key));
    if !asks && !section.has("watchdog") {
        let help = "write http, tcp, unix, exec or watchdog, or leave [health] out";
        section.fault("", "[health] asks nothing", help);
    }
    asks.then_some(Health { probes, failures, restarts: restarts.unwrap_or(true) })
}

fn probes(section: &Section<'_>, scope: &Scope<'_>, every_ms: u64) -> Probes {
    let expect = section.word("expect");
    if let Some(expect) = expect.as_ref().filter(|_| !section.has("http")) {
        expect.fault(format!("{} without `http`", expect.label), "it is looked for in a body");
    }
    let url = scope.text(section, "http");
    check_url(section, url.as_ref());
    let tcp = scope.text(section, "tcp");
    check(section, "tcp", tcp.as_ref(), scalar::endpoint);
    let exec = scope.exec(section, "exec");
    Probes {
        http: url.map(|url| HttpProbe { url, expect: expect.map(|word| word.text.to_owned()) }),
        tcp,
        unix: scope.path(section, "unix"),
        exec: section.has("exec").then_some(exec),
        every_ms: section.duration("every", every_ms, LEAST_MS),
        timeout_ms: section.duration("probe-timeout", 5000, LEAST_MS),
    }
}

/// With holes in it only the beginning can be checked.
fn check_url(section: &Section<'_>, url: Option<&Text>) {
    check(section, "http", url, scalar::url);
    if let Some((word, url)) = section.word("http").zip(url.filter(|url| known(url).is_none())) {
        let start = url.render(|_, _| Some("127.0.0.1")).unwrap_or_default();
        if !start.starts_with("http://") && !start.starts_with("http+unix:///") {
            let _ = word.accept(word.text, scalar::url);
        }
    }
}

fn check(section: &Section<'_>, key: &str, text: Option<&Text>, parse: fn(&str) -> Parsed<()>) {
    if let Some((word, text)) = section.word(key).zip(text.and_then(known)) {
        let _ = word.accept(&text, parse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::Plan;
    use crate::config::{Defaults, Source, load};

    fn plan(unit: &str) -> Plan {
        let node = "role = \"master\"\nname = \"a\"\naddress = \"10.0.0.7\"".to_owned();
        let node = Source { path: "node.toml".into(), text: node };
        let unit = Source { path: "units/u.toml".into(), text: unit.to_owned() };
        let defaults = Defaults {
            hostname: "a".to_owned(),
            interface: Some("eth0".to_owned()),
            address: Some("10.0.0.7".to_owned()),
        };
        load(node, vec![unit], &defaults).unwrap()
    }

    #[test]
    fn a_container_is_not_ready_before_it_runs() {
        let container = "[container]\nengine = \"/run/e.sock\"\nimage = \"i\"\n";
        let gates = |rest: &str| plan(&format!("{container}{rest}")).units[0].spec.readiness.gates;
        assert_eq!(gates(""), Gates::NONE.with(Gate::Notify));
        let asked = gates("[ready]\ntcp = \"127.0.0.1:80\"");
        assert_eq!(asked, Gates::NONE.with(Gate::Notify).with(Gate::Tcp));
        assert_eq!(gates("[unit]\nkind = \"oneshot\""), Gates::NONE, "its end is what counts");
        let command = plan("[command]\nexec = [\"x\"]");
        assert_eq!(command.units[0].spec.readiness.gates, Gates::NONE);
    }
}
