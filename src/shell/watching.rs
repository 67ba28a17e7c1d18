//! What the shell does with the files it watches: values, readiness, conditions.

use std::path::{Path, PathBuf};

use super::Shell;
use super::children::Part;
use super::exports;
use super::watch::{Want, Watches};
use crate::machine::spec::{Gate, Gates};
use crate::machine::{Event, Hold, Phase, Run, UnitId};
use crate::sys::files::{self, NO_FILE};

/// What a file is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// It holds a unit's values.
    Exports(UnitId),
    /// It says that a unit is ready.
    Ready(UnitId),
    /// A unit waits for it.
    Condition(UnitId),
}

impl Purpose {
    /// The same for the unit's new id.
    pub(super) fn renumbered(self, new_id: impl Fn(UnitId) -> Option<UnitId>) -> Option<Self> {
        match self {
            Self::Exports(unit) => new_id(unit).map(Self::Exports),
            Self::Ready(unit) => new_id(unit).map(Self::Ready),
            Self::Condition(unit) => new_id(unit).map(Self::Condition),
        }
    }
}

/// All files that are watched.
pub type Watching = Watches<Purpose>;

impl Shell {
    /// Files may have appeared or been replaced.
    pub(super) fn on_watch(&mut self) {
        let fired = match self.watching.take() {
            Ok(fired) => fired,
            Err(fault) => {
                log::warn!("{fault}");
                return;
            }
        };
        for (purpose, fault) in fired.faults {
            let (Purpose::Exports(unit) | Purpose::Ready(unit) | Purpose::Condition(unit)) =
                purpose;
            self.note(unit, fault.to_string());
        }
        for purpose in fired.taken {
            // Readiness and the world do not go back on their word; values do.
            if let Purpose::Exports(unit) = purpose {
                self.read_exports(unit);
            }
        }
        for purpose in fired.keys {
            match purpose {
                Purpose::Exports(unit) => self.read_exports(unit),
                Purpose::Ready(unit) => {
                    let body = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
                    if let Some(run) = body.map(|body| body.run) {
                        self.push(Event::Held(unit, run, Gate::File));
                    }
                }
                Purpose::Condition(_) => self.look_at_world(),
            }
        }
    }

    fn watch(&mut self, purpose: Purpose, unit: UnitId, path: &Path, want: Want) {
        if let Err(fault) = self.watching.add(purpose, path, want) {
            self.note(unit, fault.to_string());
        }
    }

    /// Watches the file that says that a unit is ready; from before its start, so that a file of
    /// an earlier run never counts.
    pub(super) fn watch_ready_file(&mut self, unit: UnitId, run: Run) -> Result<(), String> {
        let before = self.ready_file_of(unit)?.map(|path| files::stamp(&path));
        if let Some(body) = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run)) {
            body.ready_file = before;
        }
        self.watch_ready(unit)
    }

    /// The same after the start: what has come meanwhile counts. What was there before is not known
    /// of a run whose process was made and not written down; then a file that is there is its own.
    pub(super) fn watch_ready_file_again(&mut self, unit: UnitId, run: Run) -> Result<(), String> {
        self.watch_ready(unit)?;
        let now = self.ready_file_of(unit)?.map(|path| files::stamp(&path));
        if now.as_ref().is_none_or(|now| now == NO_FILE) {
            return Ok(());
        }
        let body = self.lives.get_mut(unit.index()).and_then(|live| live.body_of(run));
        match body.and_then(|body| body.ready_file.clone()) {
            None => self.believe(unit, run, Gates::NONE.with(Gate::File)),
            before if before != now => self.push(Event::Held(unit, run, Gate::File)),
            Some(_) => {}
        }
        Ok(())
    }

    fn ready_file_of(&self, unit: UnitId) -> Result<Option<PathBuf>, String> {
        let file = self.plan.units.get(unit.index()).and_then(|plan| plan.ready.file.as_ref());
        let path = file.map(|file| super::launch::Values::of(&self.machine, unit).fill(file));
        Ok(path.transpose()?.map(PathBuf::from))
    }

    fn watch_ready(&mut self, unit: UnitId) -> Result<(), String> {
        let file = self.plan.units.get(unit.index()).and_then(|plan| plan.ready.file.as_ref());
        if let Some(file) = file {
            let path = super::launch::Values::of(&self.machine, unit).fill(file)?;
            let plan = self.plan.units.get(unit.index());
            let exports = plan.and_then(|plan| plan.exports.as_ref());
            // Values that are being written are not there yet.
            let has_values = exports.is_some_and(|exports| exports.file == Path::new(&path));
            let want = if has_values { Want::Content } else { Want::Presence };
            self.watch(Purpose::Ready(unit), unit, Path::new(&path), want);
        }
        Ok(())
    }

    /// Watches the file of a unit's values, as long as the unit is known.
    pub(super) fn watch_exports(&mut self, unit: UnitId) {
        let Some(plan) = self.plan.units.get(unit.index()) else {
            return;
        };
        let Some(spec) = plan.exports.clone() else {
            self.watching.remove(Purpose::Exports(unit));
            return;
        };
        let name = plan.spec.name.clone();
        if spec.keeps {
            let places = exports::Places {
                state: &self.options.state,
                run: &self.options.run,
                boot_id: &self.boot_id,
            };
            match exports::put_back(&spec, &name, places) {
                Ok(true) => log::info!("{name}: its values of the last boot were put back"),
                Ok(false) => {}
                Err(why) => self.note(unit, why),
            }
        }
        let watched = self.watching.keep(Purpose::Exports(unit), &spec.file, Want::Content);
        if let Err(fault) = watched {
            self.note(unit, fault.to_string());
        }
    }

    /// Reads a unit's values, if it runs: a file from before tells nothing of now.
    pub(super) fn read_exports(&mut self, unit: UnitId) {
        let Some(spec) = self.plan.units.get(unit.index()).and_then(|plan| plan.exports.as_ref())
        else {
            return;
        };
        if !self.machine.unit(unit).is_some_and(|state| state.is_live() || state.is_up()) {
            return;
        }
        let (values, errors) = exports::read(&spec.file);
        let is_kept = spec.keeps && values.as_ref().is_some_and(|values| !values.is_empty());
        if let Some(values) = values {
            self.inbox.push_back(Event::Exports(unit, values));
        }
        for error in errors {
            self.note(unit, error);
        }
        if is_kept {
            self.keep_exports(unit);
        }
    }

    /// Has a copy of a unit's values written, by a process that may wait for the SD card.
    fn keep_exports(&mut self, unit: UnitId) {
        let Some(plan) = self.plan.units.get(unit.index()) else {
            return;
        };
        let Some(spec) = &plan.exports else {
            return;
        };
        let copy = exports::copy_path(&self.options.state, &plan.spec.name);
        if self.children.keeps(unit) || exports::is_kept(&spec.file, &copy) {
            return;
        }
        let argv = vec![
            self.own_program.display().to_string(),
            "keep-file".to_owned(),
            spec.file.display().to_string(),
            copy.display().to_string(),
        ];
        let request = crate::sys::spawn::Request::new(argv);
        let run = self.lives.get(unit.index()).and_then(|live| live.body.as_ref());
        let run = run.map_or(Run(0), |body| body.run);
        if let Err(error) = self.spawn(unit, run, Part::Keep, request) {
            self.note(unit, format!("its values are not kept: {}", error.why));
        }
    }

    /// The machine wants to know what of the world a unit has to wait for.
    pub(super) fn look_for(&mut self, unit: UnitId) {
        let Some(wait) = self.plan.units.get(unit.index()).map(|plan| plan.wait.clone()) else {
            return;
        };
        if let Some(path) = &wait.path {
            self.watch(Purpose::Condition(unit), unit, path, Want::Presence);
        }
        let unmet = self.conditions.add(unit, &wait, &self.poll, self.now);
        if unmet.is_empty() {
            self.watching.remove(Purpose::Condition(unit));
        }
        self.inbox.push_back(Event::World(unit, unmet));
    }

    /// Routes have changed.
    pub(super) fn on_network(&mut self) {
        self.conditions.hear();
        if self.conditions.may_look(self.now) {
            self.look_at_world();
        }
    }

    /// Looks at the world for all that wait for it.
    pub(super) fn look_at_world(&mut self) {
        for (unit, unmet) in self.conditions.look_again(self.now) {
            self.inbox.push_back(Event::World(unit, unmet));
        }
    }

    /// Looks after those that still wait for the world, and no others.
    pub(super) fn look_at_conditions(&mut self) {
        let units: Vec<UnitId> = self.conditions.units().collect();
        for unit in units {
            let phase = self.machine.unit(unit).map(|state| &state.phase);
            if !matches!(phase, Some(Phase::Waiting { on: Hold::World(_), .. })) {
                self.conditions.remove(unit, &self.poll);
                self.watching.remove(Purpose::Condition(unit));
            }
        }
    }
}
