//! What a new plan changes, unit by unit: what has to start anew, and what is just taken over.

use crate::machine::UnitId;

use super::plan::{
    Container, Job, Piece, Plan, Prepare, Probes, Process, Pull, Reload, Step, Text, Unit,
};

/// What becomes of a unit when a new plan takes the place of the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// Its process was made from what is no longer true; named is what changed.
    Restart(Vec<&'static str>),
    /// It goes on as it is under new rules; named is what changed.
    Adopt(Vec<&'static str>),
}

/// All units that differ, by name; the empty name is the node as a whole.
#[must_use]
pub fn difference(old: &Plan, new: &Plan) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    for unit in &new.units {
        let name = unit.spec.name.clone();
        match old.find(&name).and_then(|id| old.units.get(id.index())) {
            None => changes.push((name, Change::Added)),
            Some(before) => {
                let before = renumbered(before, |id| to_new(old, new, id));
                changes.extend(change(&before, unit).map(|change| (name, change)));
            }
        }
    }
    let is_gone = |unit: &&Unit| new.find(&unit.spec.name).is_none();
    let gone = old.units.iter().filter(is_gone);
    changes.extend(gone.map(|unit| (unit.spec.name.clone(), Change::Removed)));
    let node = differing([
        ("shutdown", old.node.shutdown_timeout_ms == new.node.shutdown_timeout_ms),
        ("watchdog", old.node.watchdog == new.node.watchdog),
        ("control", old.node.read_group == new.node.read_group),
    ]);
    if !node.is_empty() {
        changes.push((String::new(), Change::Adopt(node)));
    }
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

/// The number that a unit has in the new plan; one that is gone gets a number that nobody has.
fn to_new(old: &Plan, new: &Plan, id: UnitId) -> UnitId {
    let name = old.units.get(id.index()).map(|unit| unit.spec.name.as_str());
    name.and_then(|name| new.find(name)).unwrap_or(UnitId(u16::MAX - id.0))
}

fn change(old: &Unit, new: &Unit) -> Option<Change> {
    let (a, b) = (&old.spec, &new.spec);
    let mut restart = job_changes(old, new);
    restart.extend(differing([
        ("kind", a.kind == b.kind),
        ("socket", old.sockets == new.sockets),
        ("prepare", old.prepare == new.prepare),
        ("ready", old.ready == new.ready),
        ("watchdog", a.readiness.watchdog_ms == b.readiness.watchdog_ms),
        ("exports", exported_file(old) == exported_file(new)),
        ("cgroup", old.cgroup == new.cgroup),
    ]));
    if !restart.is_empty() {
        return Some(Change::Restart(restart));
    }
    let edges = |unit: &Unit| {
        let spec = &unit.spec;
        let mut all = [&spec.requires, &spec.binds, &spec.wants, &spec.after].map(Clone::clone);
        all.iter_mut().for_each(|ids| ids.sort_unstable());
        all
    };
    let adopt = differing([
        ("description", old.description == new.description),
        ("dependencies", edges(old) == edges(new) && a.conflicts == b.conflicts),
        ("enabled", a.is_enabled == b.is_enabled),
        ("wait", old.wait == new.wait && a.conditions_timeout_ms == b.conditions_timeout_ms),
        ("timeouts", a.prepare_ms == b.prepare_ms && ready_timeout(old) == ready_timeout(new)),
        ("health", old.health == new.health),
        ("exports", a.exports == b.exports && old.exports == new.exports),
        ("restart", a.restart == b.restart),
        ("stop", a.stop == b.stop && old.stop == new.stop),
        ("reload", old.reload == new.reload),
        ("log", old.log == new.log),
        ("pull", pull(old) == pull(new)),
    ]);
    (!adopt.is_empty()).then_some(Change::Adopt(adopt))
}

const fn ready_timeout(unit: &Unit) -> Option<u64> {
    unit.spec.readiness.timeout_ms
}

fn exported_file(unit: &Unit) -> Option<&std::path::Path> {
    unit.exports.as_ref().map(|exports| exports.file.as_path())
}

fn job_changes(old: &Unit, new: &Unit) -> Vec<&'static str> {
    match (&old.job, &new.job) {
        (Job::Command(old), Job::Command(new)) => {
            let (a, b) = (&old.process, &new.process);
            differing([
                ("exec", old.exec == new.exec),
                ("env", a.env == b.env && a.env_files == b.env_files),
                ("user", a.user == b.user && a.group == b.group && a.groups == b.groups),
                ("process", without_names(a) == without_names(b)),
            ])
        }
        (Job::Container(a), Job::Container(b)) => {
            // Its owner was told at its start how to end it.
            let is_ended_alike = old.stop.signal == new.stop.signal
                && old.spec.stop.timeout_ms == new.spec.stop.timeout_ms;
            differing([("container", made(a) == made(b) && is_ended_alike)])
        }
        _ => vec!["command"],
    }
}

/// A container without when its image is fetched.
fn made(container: &Container) -> Container {
    Container { pull: Pull::Missing, pull_timeout_ms: None, ..container.clone() }
}

/// What a unit's process is made of, as a number that is never 0: another one, and [`difference`]
/// would start it anew. Numbers of another release are not to be compared: see [`of_release`].
#[must_use]
pub fn made_of(plan: &Plan, unit: &Unit) -> u64 {
    let name = |id: UnitId| plan.units.get(id.index()).map(|unit| unit.spec.name.as_str());
    // What else is in the table must not matter.
    let by_name = |id: UnitId| {
        let [low, high, ..] = hash(name(id).unwrap_or_default().as_bytes()).to_le_bytes();
        UnitId(u16::from_le_bytes([low, high]))
    };
    let unit = renumbered(unit, by_name);
    let job = match &unit.job {
        Job::Command(command) => format!("{command:?}"),
        Job::Container(container) => {
            let ends = (unit.stop.signal, unit.spec.stop.timeout_ms);
            format!("{:?}{ends:?}", made(container))
        }
    };
    let rest = (&unit.sockets, &unit.prepare, &unit.ready, exported_file(&unit), &unit.cgroup);
    let spec = (unit.spec.kind, unit.spec.readiness.watchdog_ms);
    let content = hash(format!("{job}{rest:?}{spec:?}").as_bytes());
    (content >> RELEASE_BITS) | (release() << (u64::BITS - RELEASE_BITS)) | 1
}

/// Whether a number of [`made_of`] is of this release.
#[must_use]
pub fn of_release(made_of: u64) -> bool {
    made_of >> (u64::BITS - RELEASE_BITS) == release()
}

const RELEASE_BITS: u32 = 16;

fn release() -> u64 {
    hash(env!("CARGO_PKG_VERSION").as_bytes()) >> (u64::BITS - RELEASE_BITS)
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// When the image is fetched, which matters at the next start only.
fn pull(unit: &Unit) -> Option<(Pull, Option<u64>)> {
    match &unit.job {
        Job::Command(_) => None,
        Job::Container(container) => Some((container.pull, container.pull_timeout_ms)),
    }
}

/// What is neither `user` nor `env`.
fn without_names(process: &Process) -> Process {
    Process {
        user: None,
        group: None,
        groups: None,
        env: Default::default(),
        env_files: Vec::new(),
        ..process.clone()
    }
}

fn differing<const N: usize>(same: [(&'static str, bool); N]) -> Vec<&'static str> {
    same.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect()
}

/// The unit with the numbers of other units replaced, in its edges and in every hole of its texts.
#[must_use]
pub fn renumbered(unit: &Unit, to: impl Fn(UnitId) -> UnitId) -> Unit {
    let mut unit = unit.clone();
    let spec = &mut unit.spec;
    for ids in
        [&mut spec.requires, &mut spec.binds, &mut spec.wants, &mut spec.after, &mut spec.conflicts]
    {
        ids.iter_mut().for_each(|id| *id = to(*id));
        ids.sort_unstable();
    }
    spec.uses.iter_mut().for_each(|used| used.unit = to(used.unit));
    each_text(&mut unit, &mut |text| {
        for piece in &mut text.0 {
            if let Piece::Value(unit, _) = piece {
                *unit = to(*unit);
            }
        }
    });
    unit
}

/// Every text of a unit in which a value can stand.
fn each_text(unit: &mut Unit, f: &mut dyn FnMut(&mut Text)) {
    match &mut unit.job {
        Job::Command(command) => {
            command.exec.iter_mut().for_each(&mut *f);
            command.process.directory.iter_mut().for_each(&mut *f);
            command.process.env.values_mut().for_each(&mut *f);
            command.process.env_files.iter_mut().for_each(|file| f(&mut file.path));
        }
        Job::Container(container) => {
            [&mut container.engine, &mut container.image, &mut container.name]
                .into_iter()
                .chain(&mut container.network)
                .chain(&mut container.user)
                .chain(&mut container.workdir)
                .chain(&mut container.command)
                .chain(&mut container.volumes)
                .chain(&mut container.devices)
                .chain(container.env.values_mut())
                .for_each(&mut *f);
        }
    }
    for Prepare { step, .. } in &mut unit.prepare {
        match step {
            Step::Exec(texts) | Step::Remove(texts) => texts.iter_mut().for_each(&mut *f),
            Step::Directory(text) => f(text),
            Step::BridgeReset { bridge, address } => {
                f(bridge);
                address.iter_mut().for_each(&mut *f);
            }
        }
    }
    unit.ready.file.iter_mut().for_each(&mut *f);
    each_probed(&mut unit.ready.probes, f);
    if let Some(health) = &mut unit.health {
        each_probed(&mut health.probes, f);
    }
    unit.stop.exec.iter_mut().for_each(&mut *f);
    if let Some(Reload::Exec { exec: texts, .. }) = &mut unit.reload {
        texts.iter_mut().for_each(f);
    }
}

fn each_probed(probes: &mut Probes, f: &mut dyn FnMut(&mut Text)) {
    probes.http.iter_mut().for_each(|http| f(&mut http.url));
    let rest = probes.tcp.iter_mut().chain(&mut probes.unix);
    rest.chain(probes.exec.iter_mut().flatten()).for_each(f);
}
