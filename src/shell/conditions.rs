//! The conditions of `[wait]`: whether they hold, why not, and when to look again.
//!
//! Units are only looked after while they wait; an idle supervisor hears of no route and asks for
//! no clock.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use crate::config::plan::{ClockWait, RouteWait, Wait};
use crate::machine::spec::{Condition, Conditions as Unmet};
use crate::machine::{Tick, UnitId};
use crate::sys::clock::{self, SYNC_MARKER, Wall};
use crate::sys::netlink::{self, Monitor};
use crate::sys::poll::{Interest, Poll};
use crate::wire::netlink::ends;
use crate::wire::network;

/// How often the clock is asked while a unit waits for it, in milliseconds: the kernel tells
/// nobody when adjtimex turns good.
const CLOCK_MS: u64 = 1_000;

/// The conditions of all units that wait for some.
#[derive(Debug)]
pub struct Conditions {
    waiting: BTreeMap<UnitId, Waiting>,
    /// Hears of routes, while somebody waits for one.
    monitor: Option<Monitor>,
    token: u64,
    next_look: Option<Tick>,
}

#[derive(Debug)]
struct Waiting {
    wait: Wait,
    reason: String,
}

impl Conditions {
    /// Nobody waits yet; `token` is what the monitor's descriptor is polled with.
    #[must_use]
    pub const fn new(token: u64) -> Self {
        Self { waiting: BTreeMap::new(), monitor: None, token, next_look: None }
    }

    /// Looks after a unit from now on; answers with what does not hold.
    pub fn add(&mut self, unit: UnitId, wait: &Wait, poll: &Poll, now: Tick) -> Unmet {
        if wait.route.is_some() && self.monitor.is_none() {
            self.listen(poll);
        }
        // Heard first, looked second: what changes in between is told.
        let (unmet, reason) = look(wait);
        if unmet.is_empty() {
            self.remove(unit, poll);
        } else {
            self.waiting.insert(unit, Waiting { wait: wait.clone(), reason });
            self.plan_look(now);
        }
        unmet
    }

    /// Looks after a unit no more.
    pub fn remove(&mut self, unit: UnitId, poll: &Poll) {
        self.waiting.remove(&unit);
        if !self.waiting.values().any(|each| each.wait.route.is_some()) {
            if let Some(monitor) = self.monitor.take() {
                poll.remove(monitor.as_fd());
            }
        }
        if !self.waiting.values().any(|each| each.wait.clock.is_some()) {
            self.next_look = None;
        }
    }

    /// The units that are looked after.
    pub fn units(&self) -> impl Iterator<Item = UnitId> {
        self.waiting.keys().copied()
    }

    /// What the monitor heard need not be kept: everything is looked at anew.
    pub fn hear(&mut self) {
        if let Some(Err(error)) = self.monitor.as_ref().map(Monitor::drain) {
            log::warn!("routes are not watched any more: {error}");
            self.monitor = None;
        }
    }

    /// Looks again; what does not hold now, for each unit.
    pub fn look_again(&mut self, now: Tick) -> Vec<(UnitId, Unmet)> {
        self.plan_look(now);
        let mut found = Vec::new();
        for (unit, waiting) in &mut self.waiting {
            let (unmet, reason) = look(&waiting.wait);
            waiting.reason = reason;
            found.push((*unit, unmet));
        }
        found
    }

    /// Why a unit waits, a sentence.
    #[must_use]
    pub fn reason(&self, unit: UnitId) -> Option<&str> {
        self.waiting.get(&unit).map(|waiting| waiting.reason.as_str())
    }

    /// When to look again without having heard anything.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Tick> {
        self.next_look
    }

    fn plan_look(&mut self, now: Tick) {
        let has_clock = self.waiting.values().any(|each| each.wait.clock.is_some());
        self.next_look = has_clock.then(|| now.after(CLOCK_MS));
    }

    fn listen(&mut self, poll: &Poll) {
        match Monitor::open() {
            Ok(monitor) => match poll.add(monitor.as_fd(), self.token, Interest::Read) {
                Ok(()) => self.monitor = Some(monitor),
                Err(fault) => log::warn!("{fault}"),
            },
            Err(error) => log::warn!("routes cannot be watched: {error}"),
        }
    }
}

/// What does not hold, and a sentence about it.
fn look(wait: &Wait) -> (Unmet, String) {
    let mut unmet = Unmet::NONE;
    let mut reasons: Vec<String> = Vec::new();
    if let Some(reason) = wait.clock.and_then(clock_reason) {
        unmet = unmet.with(Condition::Clock);
        reasons.push(reason);
    }
    if let Some(reason) = wait.route.and_then(route_reason) {
        unmet = unmet.with(Condition::Route);
        reasons.push(reason);
    }
    if let Some(path) = wait.path.as_ref().filter(|path| !path.exists()) {
        unmet = unmet.with(Condition::Path);
        reasons.push(format!("{} is not there", path.display()));
    }
    (unmet, reasons.join("; "))
}

fn clock_reason(wait: ClockWait) -> Option<String> {
    let date = || Wall::now().date();
    match wait {
        ClockWait::Synced if clock::is_synced(Path::new(SYNC_MARKER)) => None,
        ClockWait::Synced => Some(format!("the clock is not synchronised (it says {})", date())),
        ClockWait::Sane if Wall::now().is_sane() => None,
        ClockWait::Sane => Some(format!("the clock is wrong (it says {})", date())),
    }
}

fn route_reason(wait: RouteWait) -> Option<String> {
    let (to, what) = match wait {
        RouteWait::Default => (None, "no default route".to_owned()),
        RouteWait::To(address) => (Some(address), format!("no route to {address}")),
    };
    match network::has_route(to, |request| netlink::ask(request, ends)) {
        Ok(true) => None,
        Ok(false) => Some(what),
        Err(error) => Some(format!("the routes cannot be read: {error}")),
    }
}
