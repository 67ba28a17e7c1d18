//! What a configuration wants of its machine.

use crate::config::plan::{Container, Job, Plan, Process, Step, Text, Unit};
use crate::sys::spawn::DEFAULT_PATH;

/// What a configuration wants of its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// The node's name.
    pub name: String,
    /// The network of all pods, `10.1.0.0/16`.
    pub cidr: Option<String>,
    /// How packets reach the pods of other nodes.
    pub backend: Option<String>,
    /// The watchdog that is to be fed.
    pub watchdog: Option<String>,
    /// Bridges that units set anew before they start.
    pub bridges: Vec<String>,
    /// Whether a unit switches the forwarding of packets on.
    pub turns_on_forwarding: bool,
    /// Programs that units start.
    pub programs: Vec<Program>,
}

/// A program that a unit starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name or path.
    pub name: String,
    /// The folders in which it is looked for.
    pub path: String,
    /// The unit that starts it.
    pub unit: String,
    /// Whether the unit goes on without it.
    pub is_optional: bool,
}

impl Wants {
    /// What a plan wants.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let value = |key: &str| plan.node.values.get(key).cloned();
        let device = plan.node.watchdog.as_ref().and_then(|watchdog| watchdog.device.as_ref());
        let mut wants = Self {
            name: value("name").unwrap_or_default(),
            cidr: value("cidr"),
            backend: value("backend"),
            watchdog: device.map(|path| path.display().to_string()),
            ..Self::default()
        };
        for unit in &plan.units {
            wants.add(unit);
        }
        wants
    }

    fn add(&mut self, unit: &Unit) {
        match &unit.job {
            Job::Command(command) => self.start(unit, &command.exec, false),
            Job::Container(_) => {}
        }
        for prepare in &unit.prepare {
            match &prepare.step {
                Step::Exec(exec) => {
                    let words = || exec.iter().filter_map(known);
                    self.turns_on_forwarding |= words().any(|word| word.ends_with("ip_forward=1"));
                    self.start(unit, exec, prepare.ignores_failure);
                }
                Step::BridgeReset { bridge, .. } => self.bridges.extend(known(bridge)),
                Step::Remove(_) | Step::Directory(_) => {}
            }
        }
        let health = unit.health.as_ref().map(|health| &health.probes);
        for probes in [Some(&unit.ready.probes), health].into_iter().flatten() {
            self.start(unit, probes.exec.as_deref().unwrap_or_default(), false);
        }
        self.start(unit, &unit.stop.exec, false);
    }

    fn start(&mut self, unit: &Unit, exec: &[Text], is_optional: bool) {
        let Some(name) = exec.first().and_then(known) else { return };
        let path = process(unit).env.get("PATH").and_then(known);
        let path = path.unwrap_or_else(|| DEFAULT_PATH.to_owned());
        match self.programs.iter_mut().find(|other| other.name == name && other.path == path) {
            // One name of a unit is enough, and the unit that cannot do without it counts.
            Some(other) if is_optional || !other.is_optional => {}
            Some(other) => {
                other.unit.clone_from(&unit.spec.name);
                other.is_optional = false;
            }
            None => {
                let unit = unit.spec.name.clone();
                self.programs.push(Program { name, path, unit, is_optional });
            }
        }
    }
}

const fn process(unit: &Unit) -> &Process {
    match &unit.job {
        Job::Command(command) => &command.process,
        Job::Container(Container { process, .. }) => process,
    }
}

/// A text that needs no value of another unit.
fn known(text: &Text) -> Option<String> {
    text.render(|_, _| None).ok()
}
