//! What there is: the units as the supervisor tells of them, and the processes as the kernel does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pisup::sys::child;
use serde_json::Value;

use crate::units::UNITS;
use crate::wire;

/// A process and no other: its number, and when it was started.
pub type Identity = (u32, u64);

/// A unit, as `status` shows it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub state: String,
    pub main: Option<Identity>,
    pub starts: u64,
}

/// A process of the namespace.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    pub state: char,
    /// The unit in whose group it is.
    pub unit: Option<&'static str>,
}

/// All of it at one instant, more or less.
#[derive(Clone, Debug)]
pub struct World {
    pub supervisor: u32,
    pub units: BTreeMap<&'static str, Seen>,
    pub processes: Vec<Process>,
}

impl World {
    /// What there is now.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub fn look(run: &Path) -> Result<Self, String> {
        let replies = wire::ask(run, r#"{"v":1,"do":"status"}"#).ok_or("no answer")?;
        let status = &replies[0];
        let pid = |value: &Value| value.as_u64().and_then(|pid| u32::try_from(pid).ok());
        let supervisor = pid(&status["supervisor"]["pid"]).ok_or("no supervisor in its answer")?;
        let mut units = BTreeMap::new();
        for unit in UNITS {
            let all = status["units"].as_array().ok_or("no units in its answer")?;
            let seen = all.iter().find(|each| each["name"] == unit.name);
            let seen = seen.ok_or_else(|| format!("{} is not known", unit.name))?;
            let main = pid(&seen["main_pid"]).and_then(alive);
            let starts = seen["starts"].as_u64().unwrap_or_default();
            let state = seen["state"].as_str().unwrap_or_default().to_owned();
            units.insert(unit.name, Seen { state, main, starts });
        }
        Ok(Self { supervisor, units, processes: processes() })
    }

    pub fn unit(&self, name: &str) -> &Seen {
        &self.units[name]
    }
}

/// The process of that number, if it lives.
fn alive(pid: u32) -> Option<Identity> {
    let stat = child::stat(pid).filter(|stat| !stat.is_zombie())?;
    Some((pid, stat.start_time))
}

/// Whether a process has not died yet.
pub fn is_alive(process: Identity) -> bool {
    alive(process.0) == Some(process)
}

/// The supervisor, asked of the kernel.
pub fn supervisor() -> Option<u32> {
    let text = fs::read_to_string("/proc/1/task/1/children").ok()?;
    let pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
    let is_it = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("\0supervise")
    };
    pids.into_iter().find(is_it)
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let look = |pid: u32| {
        let stat = child::stat(pid)?;
        let (parent, state) = (stat.parent, stat.state);
        Some(Process { pid, parent, state, unit: unit_of(pid) })
    };
    pids.filter_map(look).collect()
}

/// The group of a unit has its name.
fn unit_of(pid: u32) -> Option<&'static str> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let last = |line: &str| line.rsplit('/').next().map(str::to_owned);
    let names: Vec<String> = groups.lines().filter_map(last).collect();
    UNITS.iter().map(|unit| unit.name).find(|name| names.iter().any(|own| own == name))
}

/// What a process has open, without the numbers in it: how many of each kind.
pub fn kinds(pid: u32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        // It may be closed by now.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        // Files of output are called by what came before them.
        let kind = match target.split_once("/run/log/") {
            Some(_) => "log".to_owned(),
            None => target.split(":[").next().unwrap_or_default().to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}
