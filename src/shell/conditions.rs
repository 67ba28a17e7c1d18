//! The conditions of `[wait]`: whether they hold, why not, and when to look again.
//!
//! Units are only looked after while they wait; an idle supervisor hears of no route and asks for
//! no clock. Paths are watched by [`super::watch`]; whoever does so says when to look again.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::plan::{ClockWait, RouteWait, Wait};
use crate::machine::spec::{Condition, Conditions as Unmet};
use crate::machine::{Tick, UnitId};
use crate::sys::clock::{self, SYNC_MARKER, Wall, WallAlarm};
use crate::sys::fd::AsFd;
use crate::sys::files::{self, Found};
use crate::sys::netlink::{self, Monitor};
use crate::sys::poll::{Interest, Poll};
use crate::wire::netlink::ends;
use crate::wire::network;

/// How often, in milliseconds, is looked for what nobody tells: the kernel is silent when the
/// clock becomes synchronised without a jump.
const LOOK_MS: u64 = 1_000;

/// The conditions of all units that wait for some.
#[derive(Debug)]
pub struct Conditions {
    waiting: BTreeMap<UnitId, Waiting>,
    /// Hears of routes, while somebody waits for one.
    monitor: Option<Monitor>,
    /// Hears of jumps of the clock, while somebody waits for it.
    alarm: Option<WallAlarm>,
    token: u64,
    next_look: Option<Tick>,
    /// When it was looked at all of them last.
    looked: Tick,
}

#[derive(Debug)]
struct Waiting {
    wait: Wait,
    reason: String,
}

impl Conditions {
    /// Nobody waits yet; `token` is what the descriptors are polled with.
    #[must_use]
    pub const fn new(token: u64) -> Self {
        Self {
            waiting: BTreeMap::new(),
            monitor: None,
            alarm: None,
            token,
            next_look: None,
            looked: Tick(0),
        }
    }

    /// Looks after a unit from now on, unless everything holds; answers with what does not. A path
    /// must be watched before.
    pub fn add(&mut self, unit: UnitId, wait: &Wait, poll: &Poll, now: Tick) -> Unmet {
        self.waiting.insert(unit, Waiting { wait: wait.clone(), reason: String::new() });
        // Heard first, looked second: what changes in between is told.
        self.listen(poll);
        let (unmet, reason) = look(wait);
        if unmet.is_empty() {
            self.remove(unit, poll);
        } else if let Some(waiting) = self.waiting.get_mut(&unit) {
            waiting.reason = reason;
            // Others may have been looked for only until now: the look that is due for them stays.
            let due = self.next_look;
            self.plan_look(now);
            self.next_look = self.next_look.or(due);
        }
        unmet
    }

    /// Looks after a unit no more.
    pub fn remove(&mut self, unit: UnitId, poll: &Poll) {
        self.waiting.remove(&unit);
        self.listen(poll);
        let is_told = |wait: &Wait| wait.route.is_some() || wait.clock.is_some();
        if !self.waiting.values().any(|each| is_told(&each.wait)) {
            self.next_look = None;
        }
    }

    /// The units that are looked after.
    pub fn units(&self) -> impl Iterator<Item = UnitId> {
        self.waiting.keys().copied()
    }

    /// Takes what was told for the token. What it was need not be kept: look again.
    pub fn hear(&mut self) {
        if let Some(Err(error)) = self.monitor.as_ref().map(Monitor::drain) {
            log::warn!("routes are not heard of any more, only looked for: {error}");
            self.monitor = None;
        }
        if let Some(alarm) = &self.alarm {
            alarm.clear();
        }
    }

    /// Whether to look at once; otherwise it is looked a little later. Asking for routes can take
    /// its time, and they can change by the thousand.
    pub fn may_look(&mut self, now: Tick) -> bool {
        let rested = self.looked.after(LOOK_MS);
        if rested > now {
            self.next_look = Some(self.next_look.map_or(rested, |at| at.min(rested)));
        }
        rested <= now
    }

    /// Looks again; what does not hold now, for each unit.
    pub fn look_again(&mut self, now: Tick) -> Vec<(UnitId, Unmet)> {
        self.looked = now;
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
        self.next_look = self.has_silent().then(|| now.after(LOOK_MS));
    }

    /// Whether somebody waits for what will not be told.
    fn has_silent(&self) -> bool {
        let is_silent = |wait: &Wait| {
            wait.clock == Some(ClockWait::Synced)
                || wait.clock.is_some() && self.alarm.is_none()
                || wait.route.is_some() && self.monitor.is_none()
        };
        self.waiting.values().any(|each| is_silent(&each.wait))
    }

    /// Listens to what somebody waits for, and to nothing else. What cannot be listened to is
    /// looked for instead.
    fn listen(&mut self, poll: &Poll) {
        let wants = |has: fn(&Wait) -> bool| self.waiting.values().any(|each| has(&each.wait));
        let wants_route = wants(|wait| wait.route.is_some());
        let wants_clock = wants(|wait| wait.clock.is_some());
        if let Some(monitor) = self.monitor.take_if(|_| !wants_route) {
            poll.remove(monitor.as_fd());
        }
        if let Some(alarm) = self.alarm.take_if(|_| !wants_clock) {
            poll.remove(alarm.as_fd());
        }
        if wants_route && self.monitor.is_none() {
            let monitor = Monitor::open().ok();
            self.monitor = monitor.filter(|each| self.is_added(each, poll));
        }
        if wants_clock && self.alarm.is_none() {
            let alarm = WallAlarm::new(clock::build_time()).ok();
            self.alarm = alarm.filter(|each| self.is_added(each, poll));
        }
    }

    fn is_added(&self, what: &impl AsFd, poll: &Poll) -> bool {
        poll.add(what.as_fd(), self.token, Interest::Read).is_ok()
    }
}

/// What does not hold, and a sentence about it.
fn look(wait: &Wait) -> (Unmet, String) {
    let mut unmet = Unmet::NONE;
    let mut reasons: Vec<String> = Vec::new();
    if let Some(clock) = wait.clock {
        let is_synced = clock::is_synced(Path::new(SYNC_MARKER));
        if let Some(reason) = clock_reason(clock, Wall::now(), is_synced) {
            unmet = unmet.with(Condition::Clock);
            reasons.push(reason);
        }
    }
    if let Some(reason) = wait.route.and_then(route_reason) {
        unmet = unmet.with(Condition::Route);
        reasons.push(reason);
    }
    if let Some(path) = wait.path.as_ref().filter(|path| files::look(path) == Found::Nothing) {
        unmet = unmet.with(Condition::Path);
        reasons.push(format!("{} is not there", path.display()));
    }
    (unmet, reasons.join("; "))
}

fn clock_reason(wait: ClockWait, wall: Wall, is_synced: bool) -> Option<String> {
    let date = wall.date();
    match wait {
        ClockWait::Synced if is_synced => None,
        ClockWait::Synced => Some(format!("the clock is not synced (it says {date})")),
        ClockWait::Sane if wall.is_sane() => None,
        ClockWait::Sane => Some(format!("the clock is wrong (it says {date})")),
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::sys::files::tests::TempDir;

    #[test]
    fn a_storm_of_routes_is_looked_at_once_a_second() {
        let mut conditions = Conditions::new(1);
        assert!(conditions.may_look(Tick(5_000)));
        let _ = conditions.look_again(Tick(5_000));
        assert!(!conditions.may_look(Tick(5_001)) && !conditions.may_look(Tick(5_999)));
        assert_eq!(conditions.next_deadline(), Some(Tick(6_000)), "not forgotten");
        let _ = conditions.look_again(Tick(6_000));
        assert_eq!(conditions.next_deadline(), None);
        assert!(conditions.may_look(Tick(7_000)));
    }

    const UNIT: UnitId = UnitId(3);
    const OTHER: UnitId = UnitId(4);

    fn waiting_for_path(path: &Path) -> Wait {
        Wait { path: Some(path.to_owned()), ..Wait::default() }
    }

    #[test]
    fn clocks_that_are_wrong_say_what_they_say() {
        let (past, now) = (Wall { unix_ms: 0 }, Wall { unix_ms: 4_000_000_000_000 });
        for (wait, wall, is_synced, want) in [
            (ClockWait::Synced, past, true, None),
            (ClockWait::Synced, past, false, Some("the clock is not synced (it says 1970-01-01)")),
            (ClockWait::Synced, now, false, Some("the clock is not synced (it says 2096-10-02)")),
            (ClockWait::Sane, now, false, None),
            (ClockWait::Sane, past, true, Some("the clock is wrong (it says 1970-01-01)")),
        ] {
            assert_eq!(clock_reason(wait, wall, is_synced).as_deref(), want);
        }
    }

    #[test]
    fn a_unit_is_looked_after_until_all_holds() {
        let dir = TempDir::new("conditions");
        let path = dir.path().join("tun");
        let poll = Poll::new().unwrap();
        let mut conditions = Conditions::new(9);
        let unmet = conditions.add(UNIT, &waiting_for_path(&path), &poll, Tick(0));
        assert_eq!(unmet, Unmet::NONE.with(Condition::Path));
        let want = format!("{} is not there", path.display());
        assert_eq!(conditions.reason(UNIT), Some(want.as_str()));
        assert_eq!(conditions.next_deadline(), None, "a path is told of by its watch");
        assert_eq!(conditions.look_again(Tick(1)), [(UNIT, unmet)]);

        std::fs::create_dir(&path).unwrap();
        assert_eq!(conditions.look_again(Tick(2)), [(UNIT, Unmet::NONE)]);
        conditions.remove(UNIT, &poll);
        assert_eq!(conditions.units().count(), 0);
        assert_eq!(conditions.reason(UNIT), None);
        let held = conditions.add(UNIT, &waiting_for_path(&path), &poll, Tick(3));
        assert!(held.is_empty() && conditions.units().count() == 0);
    }

    #[test]
    fn an_idle_supervisor_listens_to_nothing() {
        let dir = TempDir::new("conditions");
        let wait = Wait {
            clock: Some(ClockWait::Sane),
            route: Some(RouteWait::Default),
            ..waiting_for_path(&dir.path().join("never"))
        };
        let mut poll = Poll::new().unwrap();
        let mut conditions = Conditions::new(9);
        for unit in [UNIT, OTHER] {
            conditions.add(unit, &wait, &poll, Tick(0));
        }
        assert!(conditions.monitor.is_some() && conditions.alarm.is_some());
        assert_eq!(conditions.next_deadline(), None, "everything is told of");
        conditions.remove(UNIT, &poll);
        assert!(conditions.monitor.is_some() && conditions.alarm.is_some());
        conditions.hear();
        conditions.remove(OTHER, &poll);
        assert!(conditions.monitor.is_none() && conditions.alarm.is_none());
        let mut out = Vec::new();
        poll.wait(Some(0), &mut out).unwrap();
        assert_eq!(out, []);
    }

    #[test]
    fn a_synchronised_clock_is_looked_for_while_somebody_waits_for_it() {
        let dir = TempDir::new("conditions");
        let path = waiting_for_path(&dir.path().join("never"));
        let wait = Wait { clock: Some(ClockWait::Synced), ..path.clone() };
        let poll = Poll::new().unwrap();
        let mut conditions = Conditions::new(9);
        conditions.add(UNIT, &wait, &poll, Tick(500));
        conditions.add(OTHER, &path, &poll, Tick(600));
        assert_eq!(conditions.next_deadline(), Some(Tick(1600)));
        conditions.look_again(Tick(1600));
        assert_eq!(conditions.next_deadline(), Some(Tick(2600)));
        conditions.remove(UNIT, &poll);
        assert_eq!(conditions.next_deadline(), None);
    }

    #[test]
    fn the_loopback_can_always_be_reached() {
        assert_eq!(route_reason(RouteWait::To(Ipv4Addr::LOCALHOST)), None);
    }

    #[test]
    fn all_reasons_make_one_sentence() {
        let dir = TempDir::new("conditions");
        let wait = Wait {
            // Wherever a broadcast goes, it is not a way to somebody.
            route: Some(RouteWait::To(Ipv4Addr::BROADCAST)),
            ..waiting_for_path(&dir.path().join("x"))
        };
        let (unmet, reason) = look(&wait);
        assert!(unmet.has(Condition::Route) && unmet.has(Condition::Path));
        assert!(reason.contains("no route to 255.255.255.255; "), "{reason}");
    }
}
