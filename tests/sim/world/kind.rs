//! Which kinds of things happen in a history at all.

use crate::rng::Rng;

/// Chosen apart from all else: the histories of a kind stay the same when there is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Another program takes the place of the supervisor.
    pub upgrades: bool,
    /// Some units are containers.
    pub containers: bool,
    /// An init that is not pisup-init starts it again.
    pub has_above: bool,
}

impl Kind {
    /// None of it.
    pub const PLAIN: Self = Self { upgrades: false, containers: false, has_above: false };

    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x6b69_6e64);
        Self { upgrades: !rng.one_in(4), has_above: rng.one_in(2), containers: !rng.one_in(3) }
    }
}
