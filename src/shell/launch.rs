//! From a unit and the values of the moment to what is executed: argv, environment, user.
//!
//! Nothing here starts anything; [`Launch::request`] is for `sys::spawn`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::plan::{Command, EnvFile, Job, Process, Step, Text, Unit};
use crate::machine::{Machine, UnitId};
use crate::sys::spawn::{DEFAULT_PATH, Request, resource};
use crate::sys::user::{self, Account};
use crate::sys::{cgroup, files};
use crate::wire::envfile;

/// Longest environment file, in bytes; the kernel takes 128 KiB for one string at the most.
const ENV_FILE_BYTES_MAX: usize = 256 * 1024;

/// Variables of the outer world that no service may see by accident.
const OWN_VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// A program that is ready to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub directory: String,
    /// Whom it runs as.
    pub account: Account,
    /// What could not be read and may be absent.
    pub notes: Vec<String>,
    process: &'a Process,
}

/// Fills the holes of texts with the values that a unit's run was given.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    machine: &'a Machine,
    user: UnitId,
}

impl<'a> Values<'a> {
    /// The values of the present run of `user`; of the moment, where it has none.
    #[must_use]
    pub const fn of(machine: &'a Machine, user: UnitId) -> Self {
        Self { machine, user }
    }

    /// The text without holes.
    ///
    /// # Errors
    ///
    /// A sentence that names the value that is missing.
    pub fn fill(&self, text: &Text) -> Result<String, String> {
        let lookup = |unit, key: &str| {
            let given = self.machine.value_in_use(self.user, unit, key);
            given.or_else(|| self.machine.value(unit, key))
        };
        let missing = |(unit, key): (UnitId, &str)| {
            format!("{} has not exported {key}", self.machine.name(unit))
        };
        text.render(lookup).map_err(missing)
    }

    /// All texts without holes.
    ///
    /// # Errors
    ///
    /// As for [`Values::fill`].
    pub fn fill_all(&self, texts: &[Text]) -> Result<Vec<String>, String> {
        texts.iter().map(|text| self.fill(text)).collect()
    }
}

impl<'a> Launch<'a> {
    /// A program in the state that the unit asks for.
    ///
    /// # Errors
    ///
    /// A sentence: a missing value, an unknown user, an environment file that cannot be read.
    pub fn new(
        argv: Vec<String>,
        process: &'a Process,
        values: Values<'_>,
    ) -> Result<Self, String> {
        let user = process.user.as_deref();
        let account = user::resolve(user, process.group.as_deref(), process.groups.as_deref())
            .map_err(|error| error.to_string())?;
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
            ("HOME".to_owned(), account.home.clone()),
            ("USER".to_owned(), account.name.clone()),
        ]);
        let mut notes = Vec::new();
        for file in &process.env_files {
            read_env_file(file, values, &mut env, &mut notes)?;
        }
        for (key, text) in &process.env {
            env.insert(key.clone(), values.fill(text)?);
        }
        env.retain(|key, _| !OWN_VARIABLES.contains(&key.as_str()));
        let directory = match &process.directory {
            Some(text) => values.fill(text)?,
            None => "/".to_owned(),
        };
        Ok(Self { argv, env, directory, account, notes, process })
    }

    /// The main program of a unit.
    ///
    /// # Errors
    ///
    /// As for [`Launch::new`].
    pub fn main(
        unit: &'a Unit,
        values: Values<'_>,
        own_program: &Path,
        run: &Path,
    ) -> Result<Self, String> {
        match &unit.job {
            Job::Command(Command { exec, process }) => {
                Self::new(values.fill_all(exec)?, process, values)
            }
            Job::Container(container) => {
                let argv = super::container::argv(unit, container, values, own_program, run)?;
                Self::new(argv, &container.process, values)
            }
        }
    }

    /// A prepare step of a unit; those that pisup does itself are processes of its own program.
    ///
    /// # Errors
    ///
    /// As for [`Launch::new`].
    pub fn step(
        unit: &'a Unit,
        step: &Step,
        values: Values<'_>,
        own_program: &Path,
    ) -> Result<Self, String> {
        let own = |word: &str| vec![own_program.display().to_string(), word.to_owned()];
        let argv = match step {
            Step::Exec(exec) => values.fill_all(exec)?,
            Step::Remove(paths) => [own("remove-files"), values.fill_all(paths)?].concat(),
            Step::Directory(path) => [own("make-directory"), vec![values.fill(path)?]].concat(),
            Step::BridgeReset { bridge, address } => {
                let mut argv = own("bridge-reset");
                argv.push(values.fill(bridge)?);
                if let Some(address) = address {
                    argv.push(values.fill(address)?);
                }
                argv
            }
        };
        let mut launch = Self::new(argv, process_of(unit), values)?;
        if !matches!(step, Step::Exec(_)) {
            // It may be the one that makes the unit's directory; its paths are absolute.
            launch.directory = "/".to_owned();
        }
        Ok(launch)
    }

    /// A command beside the main one (probe, stop, reload) that may know the main process.
    ///
    /// # Errors
    ///
    /// As for [`Launch::new`].
    pub fn beside(
        unit: &'a Unit,
        exec: &[Text],
        main: Option<u32>,
        values: Values<'_>,
    ) -> Result<Self, String> {
        let mut launch = Self::new(values.fill_all(exec)?, process_of(unit), values)?;
        if let Some(pid) = main {
            launch.env.insert("MAINPID".to_owned(), pid.to_string());
            // No shell expands it, so the word itself stands for the number too.
            for argument in &mut launch.argv {
                if argument == "$MAINPID" {
                    *argument = pid.to_string();
                }
            }
        }
        Ok(launch)
    }

    /// The request for `sys::spawn`; descriptors are still to be added.
    #[must_use]
    pub fn request<'r>(&self, group: Option<&'r cgroup::Group>) -> Request<'r> {
        let process = self.process;
        let limits = process.limits.iter();
        Request {
            env: self.env.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            path: self.env.get("PATH").map_or_else(|| DEFAULT_PATH.to_owned(), Clone::clone),
            ids: self.account.ids.clone(),
            directory: self.directory.clone(),
            umask: process.umask.unwrap_or(0o022),
            nice: process.nice,
            ionice: process.ionice,
            oom_score_adj: process.oom_score_adj,
            cpus: process.cpus.clone(),
            capabilities: process.capabilities.clone(),
            no_new_privileges: process.no_new_privileges,
            limits: limits.filter_map(|(name, max)| Some((resource(name)?, *max))).collect(),
            cgroup: group,
            ..Request::new(self.argv.clone())
        }
    }
}

/// The state that a unit's processes are started in.
#[must_use]
pub const fn process_of(unit: &Unit) -> &Process {
    match &unit.job {
        Job::Command(command) => &command.process,
        Job::Container(container) => &container.process,
    }
}

fn read_env_file(
    file: &EnvFile,
    values: Values<'_>,
    env: &mut BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<(), String> {
    let path = values.fill(&file.path)?;
    let bytes = match files::read_bytes(Path::new(&path), ENV_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if file.is_optional => {
            notes.push(format!("went on without its environment file: {error}"));
            return Ok(());
        }
        Err(error) => return Err(format!("env-file: {error}")),
    };
    let parsed = envfile::parse(&bytes);
    env.extend(parsed.values);
    notes.extend(parsed.errors.iter().map(|error| format!("{path}: {error}")));
    Ok(())
}
