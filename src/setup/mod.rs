//! `pisup setup`: makes a configuration out of a profile. `doctor` looks at the machine it is for.
//!
//! A profile is a folder of files that a person could have written. They are copied as they are,
//! except that `node.toml` is told who this node is. Nothing that somebody changed is written
//! over, and either all of it is written or nothing.

pub mod doctor;
mod node;
mod profile;
mod target;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::{self, Defaults, Diagnostic, Hints, Source};
use crate::sys::files::{self, Found};
use profile::Profile;
use target::{State, Target};

/// Where the configuration is when nobody says otherwise.
const USUAL_CONFIG: &str = "/etc/pisup";

/// What this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that the others lean on.
    Master,
    /// One of the others; the master's address or name.
    Worker(String),
}

impl Role {
    const fn name(&self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Worker(_) => "worker",
        }
    }
}

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Request {
    /// What this node is.
    pub role: Role,
    /// The name of a folder in `from`.
    pub profile: String,
    /// Also what a machine needs that has no other init.
    pub with_board: bool,
    /// Write over what differs.
    pub is_forced: bool,
    /// The folder of the profiles; `None` looks for it.
    pub from: Option<PathBuf>,
    /// Where the configuration goes.
    pub config: PathBuf,
    /// Where a master's static pods go.
    pub manifests: PathBuf,
    /// The node's name; `None` is detected, as are the next two.
    pub name: Option<String>,
    /// The interface.
    pub interface: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// The network of all pods; `None` is the profile's.
    pub cidr: Option<String>,
}

/// Why it was not done.
#[derive(Debug)]
pub enum Failure {
    /// It was refused or failed; sentences, a line each.
    Failed(String),
    /// Standard output does not take what is written.
    Output(io::Error),
}

impl Failure {
    fn failed(sentence: impl fmt::Display) -> Self {
        Self::Failed(sentence.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Writes the configuration and says what was done with each file. `detect` asks this machine for
/// what nobody says.
///
/// # Errors
///
/// Nothing is written if the profile cannot be read, if what would come of it is no configuration,
/// or if a file is there that differs and nothing is forced. A disk may still be full.
pub fn run(
    request: &Request,
    detect: impl FnOnce(&Hints) -> Defaults,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let profile = Profile::read(request).map_err(Failure::failed)?;
    writeln!(out, "profile {}", profile.folder.display())?;
    let node = Source {
        path: request.config.join("node.toml"),
        text: node_text(request, profile.node.clone()),
    };
    let defaults = detect(&config::hints(&node.text));
    let units = profile.units.iter().map(|(name, text)| unit(request, name, text));
    let units: Vec<Source> = units.collect();
    try_out(&node, &units, &defaults)?;
    let mut targets = manifests(request, &profile, &node, &defaults)?;
    targets.extend(units.into_iter().chain([node]).map(Target::from));
    targets.sort_by(|a, b| a.path.cmp(&b.path));

    let states = target::compare(&targets).map_err(Failure::failed)?;
    let differing = || targets.iter().zip(&states).filter(|(_, state)| **state == State::Differs);
    if !request.is_forced && differing().next().is_some() {
        let list = differing().map(|(target, _)| format!("  {}\n", target.path.display()));
        let list: String = list.collect();
        let sentence = "nothing was written, because these files differ from what would be";
        return Err(Failure::failed(format!("{sentence}:\n{list}--force writes over them")));
    }
    for (target, state) in targets.iter().zip(states) {
        if state != State::Same {
            target.write().map_err(Failure::failed)?;
        }
        writeln!(out, "{:<8}{}", state.word(), target.path.display())?;
    }
    for path in strangers(&request.config, &targets) {
        writeln!(out, "{:<8}{} (not of this profile)", "kept", path.display())?;
    }
    Ok(())
}

/// Says how it goes on, under the init that this machine has.
///
/// # Errors
///
/// Standard output does not take it.
pub fn tell_next(config: &Path, out: &mut dyn Write) -> io::Result<()> {
    let has = |path: &str| files::look(Path::new(path)) == Found::Directory;
    let (systemd, openrc) = (has("/run/systemd/system"), has("/run/openrc"));
    let option = match config == Path::new(USUAL_CONFIG) {
        true => String::new(),
        false => format!(" --config {}", config.display()),
    };
    writeln!(out, "\nnext    pisup{option} doctor")?;
    match (option.is_empty(), systemd, openrc) {
        (true, true, _) => writeln!(out, "then    systemctl enable --now pisup"),
        (true, _, true) => writeln!(out, "then    rc-update add pisup && rc-service pisup start"),
        _ => writeln!(out, "then    pisup{option} supervise"),
    }
}

/// The profile's `node.toml` with what is known of this node.
fn node_text(request: &Request, mut text: String) -> String {
    let mut set = |section, key, value: &str| text = node::set(&text, section, key, value);
    set("", "role", request.role.name());
    set("", "profile", &request.profile);
    if let Role::Worker(master) = &request.role {
        set("", "master", master);
    }
    let given = [
        ("", "name", &request.name),
        ("", "interface", &request.interface),
        ("", "address", &request.address),
        ("network", "cidr", &request.cidr),
    ];
    for (section, key, value) in given {
        if let Some(value) = value {
            set(section, key, value);
        }
    }
    if node::has(&text, "vars", "arch") {
        text = node::set(&text, "vars", "arch", architecture());
    }
    text
}

/// This machine's kind as Go calls it, which is how images are named.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "arm") {
        "arm"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

fn unit(request: &Request, name: &str, text: &str) -> Source {
    Source { path: request.config.join("units").join(name), text: text.to_owned() }
}

/// What would be written must be a configuration. What only the network does not tell yet it may
/// tell later.
fn try_out(node: &Source, units: &[Source], defaults: &Defaults) -> Result<(), Failure> {
    let Err(faults) = config::load(node.clone(), units.to_vec(), defaults) else {
        return Ok(());
    };
    match faults.iter().all(|fault| fault.is_undetected) {
        true => Ok(()),
        false => Err(refused(faults.iter().filter(|fault| !fault.is_undetected))),
    }
}

/// The static pods of a master, with the values of this node in them.
fn manifests(
    request: &Request,
    profile: &Profile,
    node: &Source,
    defaults: &Defaults,
) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    for manifest in &profile.manifests {
        let filled = config::fill(node, manifest, defaults);
        let text = filled.map_err(|faults| refused(faults.iter()))?;
        let name = manifest.path.file_name().unwrap_or_default();
        targets.push(Target { path: request.manifests.join(name), text });
    }
    Ok(targets)
}

fn refused<'a>(faults: impl Iterator<Item = &'a Diagnostic>) -> Failure {
    let texts: Vec<String> = faults.map(|fault| format!("{fault}\n")).collect();
    Failure::failed(format!("nothing was written:\n{}", texts.concat().trim_end()))
}

/// Units that are there and that the profile does not have: the user's own, or of another profile.
fn strangers(config: &Path, targets: &[Target]) -> Vec<PathBuf> {
    let folder = config.join("units");
    let names = files::names(&folder, profile::MAX_FILES).unwrap_or_default();
    let paths = names.iter().filter(|name| profile::is_unit_file(name));
    let paths = paths.map(|name| folder.join(name));
    paths.filter(|path| targets.iter().all(|target| target.path != *path)).collect()
}
