//! What the world tells the machine, and what the machine asks of the world.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::cause::Cause;
use super::ids::{Run, Tick, UnitId};
use super::spec::{Conditions, Gate};
use super::view::State;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It called exit with this code.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
    /// It is gone, and nobody who could know said how: of a main process that is a failure, and of
    /// a prepare step it is [`Event::StepLost`].
    Unknown,
}

impl Exit {
    /// Whether the process said that all is well.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

/// The values that a unit exports.
pub type Values = BTreeMap<String, String>;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The machine was made: everything enabled is wanted.
    Boot,
    /// The machine was made from a memory, in which these units were not.
    Resumed(Vec<UnitId>),
    /// Somebody asked for this unit by name.
    Start(UnitId),
    /// Somebody wants this unit down, by name.
    Stop(UnitId),
    /// Somebody wants a new run of this unit.
    Restart(UnitId),
    /// Everything has to end.
    Shutdown {
        /// When patience ends.
        by: Tick,
    },
    /// The conditions of a unit that do not hold, all others do.
    World(UnitId, Conditions),
    /// A prepare step of a run has ended; `Err` says how it failed.
    Prepared(UnitId, Run, u8, Result<(), String>),
    /// A prepare step of a run is gone, and nobody can know what came of it.
    StepLost(UnitId, Run, u8),
    /// The process of a run exists.
    Spawned(UnitId, Run),
    /// The process of a run could not be made; the sentence says why.
    SpawnFailed(UnitId, Run, String),
    /// The system was short of something that the process of a run, or its step, needs to be made;
    /// the sentence says of what. It is tried again whatever the unit's policy.
    Short(UnitId, Run, String),
    /// One of a run's readiness gates holds.
    Held(UnitId, Run, Gate),
    /// A run asked for so many more milliseconds to start or to stop (EXTEND_TIMEOUT_USEC).
    Extend(UnitId, Run, u64),
    /// A run said that it is alive (WATCHDOG=1).
    Alive(UnitId, Run),
    /// A run will say that it is alive every so many milliseconds (WATCHDOG_USEC); 0 is never.
    AliveEvery(UnitId, Run, u64),
    /// A run is not well (health probe, WATCHDOG=trigger); the sentence says why.
    Unhealthy(UnitId, Run, String),
    /// A unit's exports are now these.
    Exports(UnitId, Values),
    /// The main process of a run has ended.
    Exited(UnitId, Run, Exit),
    /// What a run left behind has ended.
    Swept(UnitId, Run),
    /// A deadline may have passed; harmless when none has.
    Timer,
}

/// Something to be done. Its result comes back as an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Look at the unit's conditions, as long as it waits for nothing else; answer with `World`.
    Look(UnitId),
    /// Run this prepare step; answer with `Prepared` or `StepLost`.
    Prepare(UnitId, Run, u8),
    /// Start the process; answer with `Spawned` or `SpawnFailed`.
    Spawn(UnitId, Run),
    /// Ask the run (its prepare step, if that is what runs) to end; answer with its end.
    Terminate(UnitId, Run),
    /// End the run by force; answer with its end.
    Kill(UnitId, Run),
    /// Kill what the run left behind; answer with `Swept` when nothing is left.
    Sweep(UnitId, Run),
    /// Nothing is left of the run: forget what was kept for it.
    Release(UnitId, Run),
    /// A state changed, and why.
    Changed {
        /// The unit.
        unit: UnitId,
        /// Its state before.
        from: State,
        /// Its state now.
        to: State,
        /// Why.
        cause: Cause,
    },
    /// Something worth telling happened that changed no state.
    Note(UnitId, Cause),
    /// The command was not carried out.
    Refused(UnitId, Vec<UnitId>),
    /// Everything has ended, or did not die in time; what is still there is named.
    Halt(Vec<UnitId>),
}
