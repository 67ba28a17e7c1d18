//! The clocks of the world.

use core::fmt;
use std::path::Path;

use super::Fault;
use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use crate::machine::Tick;
use crate::world;
use crate::world::kernel::Thing;

pub use pisup::sys::clock::{SYNC_MARKER, build_time};

pub fn boottime() -> Tick {
    world::with(|world| Tick(world.now))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall {
    pub unix_ms: i64,
}

impl Wall {
    pub fn now() -> Self {
        Self { unix_ms: world::with(|world| world.wall()) }
    }

    const fn real(self) -> pisup::sys::clock::Wall {
        pisup::sys::clock::Wall { unix_ms: self.unix_ms }
    }

    pub fn at(self, tick: Tick, now: Tick) -> Self {
        Self { unix_ms: self.real().at(tick, now).unix_ms }
    }

    pub fn is_sane(self) -> bool {
        self.real().is_sane()
    }

    pub fn date(self) -> String {
        self.real().date()
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.real().fmt(f)
    }
}

#[derive(Debug)]
pub struct WallAlarm(OwnedFd);

impl WallAlarm {
    pub fn new(unix_seconds: i64) -> Result<Self, Fault> {
        let fd = fd::open(|_| Thing::Alarm(unix_seconds.saturating_mul(1000), false));
        fd.map(Self).map_err(Fault::of("making", "a timer"))
    }

    pub fn clear(&self) {
        super::pass();
        let _ = fd::look(self.0.as_fd(), |world, id| {
            let wall = world.wall();
            if let Some(Thing::Alarm(at, is_set)) = world.kernel.get_mut(id) {
                *is_set = false;
                if *at <= wall {
                    *at = i64::MAX;
                }
            }
            Ok(())
        });
    }
}

impl AsFd for WallAlarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub fn is_synced(_marker: &Path) -> bool {
    super::pass();
    world::with(|world| world.is_synced)
}

pub fn boot_id() -> Result<String, Fault> {
    Ok("6a3f0000-0000-4000-8000-000000000001".to_owned())
}
