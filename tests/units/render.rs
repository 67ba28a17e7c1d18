//! A unit as text: all that is executed for it, in the order of its life.

use std::fmt::Write;
use std::path::Path;

use pisup::config::plan::{
    Cgroup, Command, Job, KillScope, Listen, Probes, Process, Socket, Text, Unit,
};
use pisup::config::signal_name;
use pisup::machine::cause::duration;
use pisup::machine::spec::{Kind, Policy};
use pisup::machine::{Machine, UnitId};
use pisup::shell::launch::{Launch, Values};
use pisup::wire::container::ContainerArgs;
use pisup::wire::engine;

/// What the supervisor calls itself in the command lines of its helpers.
const OWN: &str = "/usr/bin/pisup";
/// The run directory of the supervisor.
const RUN: &str = "/run/pisup";

/// Of every process; they follow from the user, who is another one on every machine.
const ALWAYS: [&str; 3] = ["PATH", "HOME", "USER"];

/// Program and arguments of the unit's main process.
pub fn argv(machine: &Machine, id: UnitId, unit: &Unit) -> Vec<String> {
    Launch::main(unit, Values::of(machine, id), Path::new(OWN), Path::new(RUN)).unwrap().argv
}

/// What the unit asks of an engine, if it is a container.
pub fn container(machine: &Machine, id: UnitId, unit: &Unit) -> Option<ContainerArgs> {
    let Job::Container(_) = unit.job else {
        return None;
    };
    let words = argv(machine, id, unit).into_iter().skip(2);
    Some(ContainerArgs::parse(words).unwrap())
}

/// Program and arguments of a prepare step.
pub fn steps(machine: &Machine, id: UnitId, unit: &Unit) -> Vec<Vec<String>> {
    let values = Values::of(machine, id);
    let steps = unit.prepare.iter();
    steps
        .map(|prepare| Launch::step(unit, &prepare.step, values, Path::new(OWN)).unwrap().argv)
        .collect()
}

/// All of it.
pub fn unit(machine: &Machine, id: UnitId, unit: &Unit) -> String {
    let mut page = Page { machine, id, out: String::new() };
    let name = &unit.spec.name;
    page.out.push_str(&format!("==== {name} ({})\n", unit.description));
    page.edges(unit);
    page.wait(unit);
    for (argv, (prepare, ms)) in
        steps(machine, id, unit).iter().zip(unit.prepare.iter().zip(&unit.spec.prepare_ms))
    {
        let grace = if prepare.ignores_failure { ", may fail" } else { "" };
        page.line("prepare", &format!("{} ({}{grace})", argv.join(" "), limit(*ms)));
    }
    unit.sockets.iter().for_each(|socket| page.socket(socket));
    page.job(unit);
    page.readiness(unit);
    page.end(unit);
    page.cgroup(&unit.cgroup);
    page.out
}

struct Page<'a> {
    machine: &'a Machine,
    id: UnitId,
    out: String,
}

impl Page<'_> {
    fn line(&mut self, word: &str, text: &str) {
        writeln!(self.out, "{word:<10} {text}").unwrap();
    }

    fn list(&mut self, word: &str, items: &[String]) {
        for (index, item) in items.iter().enumerate() {
            self.line(if index == 0 { word } else { "" }, item);
        }
    }

    fn fill(&self, text: &Text) -> String {
        Values::of(self.machine, self.id).fill(text).unwrap()
    }

    fn edges(&mut self, unit: &Unit) {
        let spec = &unit.spec;
        for (word, ids) in [
            ("requires", &spec.requires),
            ("binds", &spec.binds),
            ("wants", &spec.wants),
            ("after", &spec.after),
            ("conflicts", &spec.conflicts),
        ] {
            let names: Vec<&str> = ids.iter().map(|id| self.machine.name(*id)).collect();
            if !names.is_empty() {
                self.line(word, &names.join(" "));
            }
        }
        if spec.kind == Kind::Oneshot {
            self.line("kind", "oneshot");
        }
        if !spec.is_enabled {
            self.line("enabled", "no");
        }
    }

    fn wait(&mut self, unit: &Unit) {
        let wait = &unit.wait;
        let asked = [
            wait.clock.map(|clock| format!("clock {clock:?}")),
            wait.route.map(|route| format!("route {route:?}")),
            wait.path.as_ref().map(|path| format!("path {}", path.display())),
        ];
        for text in asked.into_iter().flatten() {
            let patience = limit(unit.spec.conditions_timeout_ms);
            self.line("wait", &format!("{text} ({patience})"));
        }
    }

    fn socket(&mut self, socket: &Socket) {
        let place = match &socket.listen {
            Listen::Unix(path) => format!("{} mode {:o}", path.display(), socket.mode),
            Listen::Tcp(address) => address.to_string(),
        };
        self.line("listen", &format!("{place} as {}", socket.name));
    }

    fn job(&mut self, unit: &Unit) {
        let values = Values::of(self.machine, self.id);
        let launch = Launch::main(unit, values, Path::new(OWN), Path::new(RUN)).unwrap();
        self.list("exec", &launch.argv);
        for (key, value) in &launch.env {
            if !ALWAYS.contains(&key.as_str()) {
                self.line("env", &format!("{key}={value}"));
            }
        }
        assert!(ALWAYS.iter().all(|key| launch.env.contains_key(*key)));
        match &unit.job {
            Job::Command(Command { process, .. }) => self.process(process, &launch.directory),
            Job::Container(_) => {
                let args = container(self.machine, self.id, unit).unwrap();
                let document = engine::create(&args.spec);
                let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
                let text = serde_json::to_string_pretty(&value).unwrap();
                self.list("create", &text.lines().map(str::to_owned).collect::<Vec<_>>());
            }
        }
    }

    fn process(&mut self, process: &Process, directory: &str) {
        for (name, max) in &process.limits {
            self.line("limit", &format!("{name} {max}"));
        }
        // Nothing that ships changes more of it, and what a unit changes must be seen here.
        let plain = Process {
            limits: process.limits.clone(),
            env: process.env.clone(),
            env_files: process.env_files.clone(),
            ..Process::default()
        };
        if *process != plain {
            self.line("process", &format!("{process:?}"));
        }
        if directory != "/" {
            self.line("directory", directory);
        }
    }

    fn readiness(&mut self, unit: &Unit) {
        let ready = &unit.ready;
        let patience = limit(unit.spec.readiness.timeout_ms);
        if ready.notify {
            self.line("ready", "READY=1 on the notify socket");
        }
        if let Some(fd) = ready.fd {
            self.line("ready", &format!("a newline on descriptor {fd}"));
        }
        if let Some(file) = &ready.file {
            let path = self.fill(file);
            self.line("ready", &format!("{path} is new"));
        }
        if let Some(log) = &ready.log {
            self.line("ready", &format!("a line with {log:?}"));
        }
        self.probes("ready", &ready.probes);
        self.line("ready", &format!("within {patience}"));
        if let Some(health) = &unit.health {
            self.probes("health", &health.probes);
            let (failures, restarts) = (health.failures, health.restarts);
            self.line("health", &format!("{failures} failures, restarts: {restarts}"));
        }
        if let Some(exports) = &unit.exports {
            let (path, keys) = (exports.file.display(), unit.spec.exports.join(" "));
            let kept = if exports.keeps { ", kept" } else { "" };
            self.line("exports", &format!("{keys} of {path}{kept}"));
        }
    }

    fn probes(&mut self, word: &str, probes: &Probes) {
        let every = duration(probes.every_ms);
        let mut asked = Vec::new();
        if let Some(http) = &probes.http {
            let body = http.expect.iter().map(|text| format!(" with {text}")).collect::<String>();
            asked.push(format!("GET {}{body}", self.fill(&http.url)));
        }
        asked.extend(probes.tcp.iter().chain(&probes.unix).map(|place| self.fill(place)));
        asked.extend(
            probes
                .exec
                .iter()
                .map(|exec| exec.iter().map(|text| self.fill(text)).collect::<Vec<_>>().join(" ")),
        );
        for text in asked {
            self.line(word, &format!("{text}, every {every}"));
        }
    }

    fn end(&mut self, unit: &Unit) {
        let stop = &unit.stop;
        let whom = match stop.kill {
            KillScope::Tree => "the tree",
            KillScope::Group => "the group",
            KillScope::Main => "the main process",
        };
        let how = match stop.exec.is_empty() {
            true => signal_name(stop.signal).unwrap_or("a signal").to_owned(),
            false => stop.exec.iter().map(|text| self.fill(text)).collect::<Vec<_>>().join(" "),
        };
        let patience = limit(unit.spec.stop.timeout_ms);
        self.line("stop", &format!("{how} to {whom}, KILL after {patience}"));
        let restart = &unit.spec.restart;
        let policy = match restart.policy {
            Policy::Always => "always",
            Policy::OnFailure => "on failure",
            Policy::Never => "never",
        };
        let (least, most) = (duration(restart.delay_ms), duration(restart.max_delay_ms));
        self.line("restart", &format!("{policy}, after {least} to {most}"));
    }

    fn cgroup(&mut self, cgroup: &Cgroup) {
        if cgroup.delegate {
            self.line("cgroup", "delegated");
        }
        // As with the process: limits that a unit sets must be seen here.
        if *cgroup != (Cgroup { delegate: cgroup.delegate, ..Cgroup::default() }) {
            self.line("cgroup", &format!("{cgroup:?}"));
        }
    }
}

fn limit(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".to_owned(), duration)
}
