//! The state file: what is left to the next supervisor, written whenever that is another thing.
//!
//! It is written behind every change, and before a process is made: then it says that a run begins,
//! so that a process which it does not know can only be that one. On a tmpfs that is full or
//! read-only nothing stops; the next supervisor finds its processes by their groups.

use std::path::PathBuf;

use super::Shell;
use super::adopt::Leftover;
use super::children::Part;
use super::history::Entry;
use super::live::{self, Live};
use crate::machine::{Machine, Spec, Tick, UnitId};
use crate::sys::child;
use crate::sys::files::{self, Durable};
use crate::wire::state::{Body, Change, FILE_NAME, Life, MAX_BYTES, Process, State};

/// Changes of a unit's state that are kept: the file is written often, and `events` is for people.
const CHANGES_KEPT: usize = 8;

/// The file, and what it says.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    said: State,
    /// Something may be otherwise than it says.
    pub is_stale: bool,
    /// Why it cannot be written, if it cannot.
    fault: Option<String>,
}

impl Record {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(run: &std::path::Path) -> Self {
        let said = State::default();
        Self { path: run.join(FILE_NAME), said, is_stale: true, fault: None }
    }

    /// Whether it says how things are.
    #[must_use]
    pub const fn is_true(&self) -> bool {
        !self.is_stale && self.fault.is_none()
    }

    /// What the last supervisor of this boot has left.
    ///
    /// # Errors
    ///
    /// Why it is not taken, a sentence; nothing at all is no error.
    pub fn read(&self, boot_id: &str) -> Result<Option<State>, String> {
        let refused = |why: String| {
            format!(
                "{} is not taken: {why}; processes are found by their groups",
                self.path.display()
            )
        };
        let bytes = match files::read_bytes(&self.path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(fault) if fault.is_missing() => return Ok(None),
            Err(fault) => return Err(refused(fault.to_string())),
        };
        let state = State::parse(&bytes).and_then(|state| state.of_boot(boot_id));
        state.map(Some).map_err(|why| refused(why.to_string()))
    }
}

/// A state, and the units that are not in it.
pub type Remembered = (State, Vec<UnitId>);

impl Record {
    /// A machine that goes on from what the last supervisor has left, and that; a new one, if it
    /// has left nothing.
    ///
    /// # Errors
    ///
    /// As for [`Record::read`].
    pub fn machine(
        &self,
        specs: Vec<Spec>,
        boot_id: &str,
        now: Tick,
    ) -> Result<(Machine, Option<Remembered>), String> {
        let Some(state) = self.read(boot_id)? else {
            return Ok((Machine::new(specs, now.0), None));
        };
        let (machine, newcomers) = Machine::resume(specs, now.0, &state.memory, now)
            .map_err(|rule| format!("what an earlier supervisor left cannot be so: {rule}"))?;
        Ok((machine, Some((state, newcomers))))
    }
}

impl Shell {
    /// Writes the file, if there is anything new to say.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.record.is_stale) {
            return;
        }
        let mut state = self.state();
        state.at = self.record.said.at;
        if state == self.record.said && self.record.fault.is_none() {
            return;
        }
        state.at = self.now;
        let text = state.render();
        let path = &self.record.path;
        let write = || files::write_atomic(path, text.as_bytes(), 0o600, Durable::No);
        // What it says is wrong by now, and worse than nothing; and there may be room without it.
        let written = write().or_else(|_| files::remove(path).and_then(|()| write()));
        match written {
            Ok(()) => {
                self.record.said = state;
                if let Some(fault) = self.record.fault.take() {
                    self.warnings.retain(|warning| *warning != fault);
                }
            }
            Err(fault) => {
                let why = format!("the next supervisor will know less: {fault}");
                if self.record.fault.is_none() {
                    log::warn!("{why}");
                    self.warnings.push(why.clone());
                    self.record.fault = Some(why);
                }
            }
        }
    }

    /// Writes the file, because another program is to go on from it at once.
    ///
    /// # Errors
    ///
    /// Why it cannot be written, a sentence.
    pub(super) fn publish_for_another(&mut self) -> Result<(), String> {
        self.record.is_stale = true;
        self.publish();
        self.record.fault.clone().map_or(Ok(()), Err)
    }

    /// All is down: nobody goes on from here.
    pub(super) fn forget_record(&mut self) {
        if let Err(fault) = files::remove(&self.record.path) {
            log::warn!("{fault}");
        }
        self.record.is_stale = false;
    }

    /// All that the next supervisor has to know.
    pub(super) fn state(&self) -> State {
        let memory = self.machine.memory();
        State {
            boot_id: self.boot_id.clone(),
            at: Tick(0),
            changes: self.changes,
            memory,
            lives: self.lives.iter().map(|live| self.life(live)).collect(),
        }
    }

    fn life(&self, live: &Live) -> Life {
        let skipped = live.history.iter().count().saturating_sub(CHANGES_KEPT);
        Life {
            since: live.since,
            cause: live.cause.clone(),
            starts: live.starts,
            made_of: live.made_of,
            failures: live.failures,
            failure: live.failure.clone(),
            exit: live.exit,
            notes: live.notes.iter().cloned().collect(),
            changes: live.history.iter().skip(skipped).map(change).collect(),
            left: match &live.leftover {
                Leftover::Main(pid, _) => {
                    child::stat(*pid).map(|stat| Process { pid: *pid, start_time: stat.start_time })
                }
                Leftover::Nothing | Leftover::Others => None,
            },
            body: live.body.as_ref().map(|body| self.body(body)),
        }
    }

    fn body(&self, body: &live::Body) -> Body {
        let process = |pid: u32| {
            let start_time = match self.children.get(pid)?.start_time {
                // It could not be looked at when it was made.
                0 => child::stat(pid).map_or(0, |stat| stat.start_time),
                known => known,
            };
            Some(Process { pid, start_time })
        };
        let step = body.step.and_then(|pid| match self.children.get(pid)?.part {
            Part::Step(number, ignores_failure) => Some((number, ignores_failure, process(pid)?)),
            _ => None,
        });
        // Who is named is the service, whoever was started.
        let named = body.named.as_ref().map(|(pid, _)| {
            let start_time = child::stat(*pid).map_or(0, |stat| stat.start_time);
            Process { pid: *pid, start_time }
        });
        Body {
            run: body.run,
            main: named.or_else(|| process(body.main?)),
            step,
            session: body.session,
            container: body.container,
            status_text: body.status_text.clone(),
            reloads_until: body.reloads_until,
            ready_file: body.ready_file.clone(),
            is_asked: body.is_asked,
        }
    }

    /// The history of a unit as it was.
    pub(super) fn remember_changes(&mut self, unit: UnitId, changes: Vec<Change>) {
        if let Some(live) = self.lives.get_mut(unit.index()) {
            for Change { number, at, from, to, cause } in changes {
                live.history.push(Entry { number, at, from, to, cause });
            }
        }
    }
}

fn change(entry: &Entry) -> Change {
    let Entry { number, at, from, to, cause } = entry.clone();
    Change { number, at, from, to, cause }
}
