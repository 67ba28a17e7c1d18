//! The units of one history, and their files.

use std::collections::BTreeMap;

use crate::rng::Rng;

#[derive(Clone, Debug)]
pub struct Graph {
    pub units: Vec<Unit>,
    next: u32,
    /// How the end of each unit is made that ever was.
    pub scopes: BTreeMap<String, Scope>,
    /// Somebody has made a mistake in it.
    pub is_broken: bool,
    pub has_watchdog: bool,
    /// Some of them are containers.
    has_containers: bool,
}

/// How a unit's end is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Tree,
    Group,
    Main,
}

#[derive(Clone, Debug)]
pub struct Unit {
    pub name: String,
    number: u32,
    pub is_oneshot: bool,
    pub is_container: bool,
    /// Section keys of other units: the word, and whom it names.
    pub edges: Vec<(&'static str, String)>,
    pub gates: Vec<&'static str>,
    pub policy: &'static str,
    delay_ms: u64,
    pub stop_ms: u64,
    pub scope: Scope,
    pub has_stop_command: bool,
    /// Prepare steps: the command, a directory, files.
    steps: Vec<&'static str>,
    pub exports: bool,
    keeps: bool,
    /// Whose values its command line has.
    pub uses: Vec<String>,
    pub has_socket: bool,
    has_log_file: bool,
    health: Option<&'static str>,
    pub watchdog_ms: Option<u64>,
    pub waits: Vec<&'static str>,
    pub reload: Option<&'static str>,
    is_enabled: bool,
    version: u32,
}

const GATES: [&str; 8] = ["notify", "fd", "file", "http", "tcp", "unix", "exec", "log"];

impl Graph {
    pub fn new(rng: &mut Rng, has_containers: bool) -> Self {
        let has_watchdog = rng.one_in(4);
        let mut graph = Self {
            units: Vec::new(),
            next: 0,
            scopes: BTreeMap::new(),
            is_broken: false,
            has_watchdog,
            has_containers,
        };
        for _ in 0..rng.range(1, 12) {
            graph.add(rng);
        }
        graph
    }

    pub fn find(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == name)
    }

    fn add(&mut self, rng: &mut Rng) {
        let number = self.next;
        self.next += 1;
        let mut edges = Vec::new();
        let mut uses = Vec::new();
        for other in &self.units {
            if rng.percent(25) {
                let word = *rng.pick(&["requires", "requires", "binds", "wants", "after"]);
                if other.exports && matches!(word, "requires" | "binds") && rng.one_in(2) {
                    uses.push(other.name.clone());
                }
                edges.push((word, other.name.clone()));
            }
        }
        let is_oneshot = rng.one_in(5);
        let gates: Vec<&'static str> = if is_oneshot || rng.one_in(5) {
            Vec::new()
        } else {
            let mut gates = vec![*rng.pick(&GATES)];
            if rng.one_in(4) {
                gates.push(*rng.pick(&GATES));
            }
            gates.sort_unstable();
            gates.dedup();
            gates
        };
        let mut steps = Vec::new();
        while rng.one_in(4) && steps.len() < 3 {
            steps.push(*rng.pick(&["exec", "exec", "directory", "remove"]));
        }
        let mut waits = Vec::new();
        if rng.one_in(6) {
            waits.push(*rng.pick(&["route", "path", "clock"]));
        }
        let some = |rng: &mut Rng, times| rng.one_in(times);
        let scope = *rng.pick(&[Scope::Tree, Scope::Tree, Scope::Tree, Scope::Group, Scope::Main]);
        self.scopes.insert(format!("u{number}"), scope);
        let mut unit = Unit {
            name: format!("u{number}"),
            number,
            is_oneshot,
            is_container: false,
            edges,
            gates,
            policy: rng.pick::<&str>(&["always", "always", "on-failure", "on-failure", "never"]),
            delay_ms: rng.range(1, 20) * 100,
            stop_ms: rng.range(1, 50) * 100,
            scope,
            has_stop_command: some(rng, 8),
            steps,
            exports: some(rng, 4),
            keeps: some(rng, 2),
            uses,
            // Elsewhere a child may keep the socket when its service is gone.
            has_socket: scope == Scope::Tree && some(rng, 6),
            has_log_file: some(rng, 5),
            health: (!is_oneshot && some(rng, 6)).then(|| *rng.pick(&["http", "exec", "tcp"])),
            watchdog_ms: (!is_oneshot && some(rng, 8)).then_some(15_000),
            waits,
            reload: (!is_oneshot && some(rng, 4)).then(|| *rng.pick(&["signal", "exec"])),
            is_enabled: !some(rng, 6),
            version: 0,
        };
        if self.has_containers && rng.one_in(3) {
            unit.become_container();
        }
        self.units.push(unit);
    }

    /// Somebody edits it.
    pub fn mutate(&mut self, rng: &mut Rng) {
        self.is_broken = rng.one_in(8);
        for _ in 0..rng.range(1, 3) {
            let index = rng.index(self.units.len());
            match rng.below(6) {
                0 if self.units.len() < 12 => self.add(rng),
                1 if self.units.len() > 1 => {
                    let gone = self.units.remove(index).name;
                    for unit in &mut self.units {
                        unit.edges.retain(|(_, name)| *name != gone);
                        unit.uses.retain(|name| *name != gone);
                    }
                }
                2 => self.units[index].delay_ms = rng.range(1, 20) * 100,
                3 => {
                    let unit = &mut self.units[index];
                    unit.has_log_file = !unit.has_log_file;
                }
                _ => self.units[index].version += 1,
            }
        }
    }
}

impl Unit {
    /// What a container cannot have it has not; and the engine counts its patience in seconds.
    fn become_container(&mut self) {
        self.is_container = true;
        self.gates.retain(|gate| !["notify", "fd"].contains(gate));
        (self.has_socket, self.watchdog_ms) = (false, None);
        self.stop_ms = self.stop_ms.max(1_500);
    }

    pub fn port(&self) -> String {
        format!("127.0.0.1:{}", 7000 + self.number)
    }

    pub fn sock(&self) -> String {
        format!("/u/{}.serves", self.name)
    }

    pub fn ready_file(&self) -> String {
        format!("/u/{}.ready", self.name)
    }

    pub fn values_file(&self) -> String {
        format!("/u/{}.values", self.name)
    }

    pub fn wait_path(&self) -> String {
        format!("/u/disk-{}/mark", self.name)
    }

    /// Whether its notify socket is there while it runs.
    pub fn is_notified(&self) -> bool {
        self.gates.contains(&"notify") || self.watchdog_ms.is_some() || self.is_container
    }

    /// Its file.
    pub fn text(&self) -> String {
        let name = &self.name;
        let mut text = "[unit]\n".to_owned();
        if self.is_oneshot {
            text += "kind = \"oneshot\"\n";
        }
        if !self.is_enabled {
            text += "enabled = false\n";
        }
        for word in ["requires", "binds", "wants", "after"] {
            let named = self.edges.iter().filter(|(own, _)| *own == word);
            let named: Vec<String> = named.map(|(_, name)| format!("{name:?}")).collect();
            if !named.is_empty() {
                text += &format!("{word} = [{}]\n", named.join(", "));
            }
        }
        for wait in &self.waits {
            text += &match *wait {
                "route" => "[wait]\nroute = \"default\"\n".to_owned(),
                "clock" => "[wait]\nclock = \"synced\"\n".to_owned(),
                _ => format!("[wait]\npath = \"{}\"\n", self.wait_path()),
            };
        }
        for step in &self.steps {
            text += &match *step {
                "exec" => format!("[[prepare]]\nexec = [\"/u/{name}/step\"]\ntimeout = \"5s\"\n"),
                "directory" => format!("[[prepare]]\ndirectory = \"/run/{name}\"\n"),
                _ => format!("[[prepare]]\nremove = [\"{}\"]\n", self.ready_file()),
            };
        }
        let values: String = self.uses.iter().map(|of| format!(", \"${{{of}.NET}}\"")).collect();
        let version = self.version;
        text += &if self.is_container {
            let image = format!("engine = \"/run/engine.sock\"\nimage = \"{name}:{version}\"\n");
            format!("[container]\n{image}command = [\"main\"{values}]\n")
        } else {
            format!("[command]\nexec = [\"/u/{name}/main\", \"{version}\"{values}]\n")
        };
        if self.has_socket {
            text += &format!("[socket]\nlisten = [\"/run/{name}.sock\"]\n");
        }
        self.rest(text)
    }

    fn rest(&self, mut text: String) -> String {
        let name = &self.name;
        text += "[ready]\ntimeout = \"10s\"\n";
        if !self.is_oneshot {
            text += "every = \"500ms\"\nprobe-timeout = \"2s\"\n";
        }
        for gate in &self.gates {
            text += &self.question(gate);
        }
        if let Some(health) = self.health {
            text += "[health]\nevery = \"20s\"\nfailures = 2\nprobe-timeout = \"2s\"\n";
            text += &self.question(health);
        }
        if let Some(ms) = self.watchdog_ms {
            let header = if self.health.is_some() { "" } else { "[health]\n" };
            text += &format!("{header}watchdog = \"{ms}ms\"\n");
        }
        if self.exports {
            let (file, keeps) = (self.values_file(), self.keeps);
            text += &format!("[exports]\nfile = \"{file}\"\nrequire = [\"NET\"]\nkeep = {keeps}\n");
        }
        let (policy, delay, stop) = (self.policy, self.delay_ms, self.stop_ms);
        text += &format!("[restart]\npolicy = \"{policy}\"\ndelay = \"{delay}ms\"\n");
        text += "max-delay = \"20s\"\nfatal-exit-codes = [42]\n";
        text += &format!("[stop]\ntimeout = \"{stop}ms\"\n");
        text += match self.scope {
            Scope::Tree => "",
            Scope::Group => "kill = \"group\"\n",
            Scope::Main => "kill = \"main\"\n",
        };
        if self.has_stop_command {
            text += &format!("exec = [\"/u/{name}/stop\"]\n");
        }
        text += &match self.reload {
            Some("signal") => "[reload]\nsignal = \"HUP\"\n".to_owned(),
            Some(_) => format!("[reload]\nexec = [\"/u/{name}/reload\"]\ntimeout = \"5s\"\n"),
            None => String::new(),
        };
        text += "[log]\nring = \"64K\"\n";
        if self.has_log_file {
            text += &format!("file = \"/var/log/{name}.log\"\n");
        }
        text
    }

    fn question(&self, gate: &str) -> String {
        match gate {
            "notify" => "notify = true\n".to_owned(),
            "fd" => "fd = 9\n".to_owned(),
            "file" => format!("file = \"{}\"\n", self.ready_file()),
            "http" => format!("http = \"http://{}/health\"\nexpect = \"ok\"\n", self.port()),
            "tcp" => format!("tcp = \"{}\"\n", self.port()),
            "unix" => format!("unix = \"{}\"\n", self.sock()),
            "exec" => format!("exec = [\"/u/{}/probe\"]\n", self.name),
            _ => "log = \"up and running\"\n".to_owned(),
        }
    }
}
