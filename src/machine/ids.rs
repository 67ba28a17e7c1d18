//! Small identities and instants: plain numbers with names, so that none is taken for another.

/// Milliseconds of CLOCK_BOOTTIME.
///
/// Unlike `Instant` it can be stored, compared with the tick of an earlier process of this boot,
/// and made up in a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// The instant `ms` later; the end of time is never passed.
    #[must_use]
    pub const fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant, 0 when it lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A unit: its index in the unit table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u16);

impl UnitId {
    /// The index into a table of all units.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One incarnation of a unit; an event that names an old one is stale and moves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub u32);
