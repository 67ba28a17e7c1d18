//! `[watchdog]` of the node: the hardware watchdog.
//!
//! Under pisup-init, init feeds: it finds out whether this loop turns, and replaces a supervisor
//! that hangs without a service noticing, while a machine that starts anew stops them
//! all. So the hardware guards the guard, and a supervisor that cannot be replaced because no
//! signal ends it. Without pisup-init the loop itself feeds.

use super::Shell;
use crate::config::plan::Watchdog;
use crate::machine::Tick;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::init_link::WATCHDOG;
use crate::sys::watchdog;

/// A watchdog that is open.
#[derive(Debug)]
pub struct Fed {
    fd: OwnedFd,
    spec: Watchdog,
    /// How often to feed it, and when next; `None` when init does.
    meals: Option<(u64, Tick)>,
}

impl Shell {
    /// Opens, keeps or closes the watchdog as the configuration in force says.
    pub(super) fn follow_watchdog(&mut self) {
        let wanted = self.plan.node.watchdog.clone();
        if self.watchdog.as_ref().map(|fed| &fed.spec) == wanted.as_ref() && wanted.is_some() {
            return;
        }
        self.close_watchdog();
        let kept = self.init.take(WATCHDOG);
        let Some((spec, device)) = wanted.and_then(|spec| Some((spec.clone(), spec.device?)))
        else {
            return;
        };
        let seconds = spec.timeout_ms / 1000;
        // One that an earlier supervisor opened is busy, and fed all the while.
        let fd = match kept.map_or_else(|| watchdog::open(&device, seconds), Ok) {
            Ok(fd) => fd,
            Err(fault) => {
                log::warn!("no watchdog: {fault}");
                return self.warnings.push(format!("no watchdog: {fault}"));
            }
        };
        match watchdog::seconds(&fd) {
            Some(real) => log::info!("{} has {real} s", device.display()),
            None => log::warn!("{} does not tell its time", device.display()),
        }
        self.init.keep(WATCHDOG, fd.as_fd());
        let meals = (!self.init.is_up()).then(|| (watchdog::feed_every_ms(&fd), self.now));
        self.watchdog = Some(Fed { fd, spec, meals });
    }

    /// When it has to be fed.
    pub(super) fn watchdog_deadline(&self) -> Option<Tick> {
        self.watchdog.as_ref()?.meals.map(|(_, next)| next)
    }

    /// Feeds it, if it is time.
    pub(super) fn feed_watchdog(&mut self) {
        let now = self.now;
        if let Some(fed) = &mut self.watchdog
            && let Some((every, next)) = &mut fed.meals
            && *next <= now
        {
            watchdog::feed(fed.fd.as_fd());
            *next = now.after(*every);
        }
    }

    /// The watchdog that is open.
    pub(super) fn watchdog_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watchdog.as_ref().map(|fed| fed.fd.as_fd())
    }

    /// Switches it off: this end is meant.
    pub(super) fn close_watchdog(&mut self) {
        if let Some(fed) = self.watchdog.take() {
            self.init.forget(WATCHDOG);
            watchdog::quiet(fed.fd.as_fd());
        }
    }
}
