//! The clocks: boot time to reckon with, the wall clock to show, and whether to believe it.

use core::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::Fault;
use crate::machine::Tick;

/// What a time service touches once the clock is right (systemd-timesyncd and those after it).
pub const SYNC_MARKER: &str = "/run/systemd/timesync/synchronized";

/// 2025-01-01, before which no copy of this program was built: the floor for [`build_time`].
const NOT_BUILT_BEFORE: i64 = 1_735_689_600;

/// What `adjtimex` answers while nothing keeps the clock right (TIME_ERROR).
const UNSYNCHRONISED: i32 = 5;

/// Now, on the clock that all deadlines are on.
#[must_use]
pub fn boottime() -> Tick {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let ms = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
    Tick(seconds.saturating_mul(1000).saturating_add(ms))
}

/// An instant of the wall clock; for people only, it may jump by decades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: i64,
}

impl Wall {
    /// What the wall clock says now.
    #[must_use]
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Realtime);
        Self { unix_ms: now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000) }
    }

    /// What the wall clock would have said at `tick`, had it always gone as it does now.
    #[must_use]
    pub fn at(self, tick: Tick, now: Tick) -> Self {
        let ago = i64::try_from(now.since(tick)).unwrap_or(i64::MAX);
        Self { unix_ms: self.unix_ms.saturating_sub(ago) }
    }

    /// Whether it is later than the making of this program.
    #[must_use]
    pub fn is_sane(self) -> bool {
        self.unix_ms >= build_time().saturating_mul(1000)
    }

    /// The day, `2026-01-31`.
    #[must_use]
    pub fn date(self) -> String {
        let (year, month, day) = civil(self.unix_ms.div_euclid(86_400_000));
        format!("{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for Wall {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.unix_ms.rem_euclid(86_400_000);
        let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
        let (seconds, ms) = (ms / 1000 % 60, ms % 1000);
        let date = self.date();
        write!(f, "{date}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
    }
}

/// Tells when the wall clock is set, by however little, and when it reaches an instant.
#[derive(Debug)]
pub struct WallAlarm {
    fd: OwnedFd,
}

impl WallAlarm {
    /// An alarm for an instant in seconds since 1970, and for every time the clock is set.
    pub fn new(unix_seconds: i64) -> Result<Self, Fault> {
        let fault = Fault::of("making", "a timer");
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Realtime, flags).map_err(&fault)?;
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let never = Timespec::default();
        let at = Itimerspec {
            it_interval: never,
            it_value: Timespec {
                // 0 would switch it off.
                tv_sec: unix_seconds.max(1),
                tv_nsec: 0,
            },
        };
        timerfd_settime(&fd, flags, &at).map_err(&fault)?;
        Ok(Self { fd })
    }

    /// Takes what was told, so that the descriptor is quiet until the next time.
    pub fn clear(&self) {
        // The number of expiries, ECANCELED for a clock that was set, or nothing at all: who asks
        // looks at the clock next.
        let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
    }
}

impl AsFd for WallAlarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// When this program was made, in seconds since 1970: SOURCE_DATE_EPOCH of the build.
#[must_use]
pub fn build_time() -> i64 {
    let given = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
    given.unwrap_or(NOT_BUILT_BEFORE).max(NOT_BUILT_BEFORE)
}

/// Whether somebody vouches for the wall clock: a time service by its marker file, or the kernel.
#[must_use]
pub fn is_synced(marker: &Path) -> bool {
    marker.exists() || is_kernel_synced()
}

/// This boot's identity: pids and boot times of another one mean nothing here.
pub fn boot_id() -> Result<String, Fault> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = super::files::read_bounded(path, 64)?;
    Ok(text.trim().to_owned())
}

/// Whether the kernel counts the clock as kept right (ntpd, chrony and their like tell it).
fn is_kernel_synced() -> bool {
    // All zeroes is a question; 512 bytes hold the structure of any machine (208 is the largest).
    let state = adjtimex(&mut [0; 64]);
    state >= 0 && state != UNSYNCHRONISED
}

#[expect(unsafe_code, reason = "no package wraps adjtimex, and no file in /proc or /sys tells it")]
// SAFETY: the C library's function takes one pointer to a `struct timex` of integers, reads and
// writes inside it, and keeps nothing; the array is larger and stricter aligned than that.
unsafe extern "C" {
    safe fn adjtimex(timex: &mut [u64; 64]) -> i32;
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(day: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01 in eras of 400 years, so that the leap day is the last of its year.
    let day = day.saturating_add(719_468);
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::super::poll::{Interest, Poll};
    use super::*;

    #[test]
    fn wall_clock_text() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_433_160_000_007, "2015-06-01T12:00:00.007Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (2_147_483_648_000, "2038-01-19T03:14:08.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Wall { unix_ms }.to_string(), text);
        }
        // The ends of the scale are nonsense, and no reason to die.
        let _ = Wall { unix_ms: i64::MIN }.to_string();
        let _ = Wall { unix_ms: i64::MAX }.to_string();
    }

    #[test]
    fn days_follow_each_other() {
        let mut last = civil(-1_000_000);
        for day in -999_999..1_000_000 {
            let next = civil(day);
            let (year, month, of_month) = last;
            assert!(
                next == (year, month, of_month + 1)
                    || next == (year, month + 1, 1) && of_month >= 28
                    || next == (year + 1, 1, 1) && (month, of_month) == (12, 31),
                "{last:?} {next:?}"
            );
            last = next;
        }
    }

    #[test]
    fn boot_time_goes_on() {
        let first = boottime();
        assert!(first > Tick(0) && boottime() >= first);
        assert_eq!(boot_id().unwrap().len(), 36);
        let wall = Wall { unix_ms: 10_000 };
        assert_eq!(wall.at(Tick(7_000), Tick(9_000)).unix_ms, 8_000);
    }

    #[test]
    fn an_alarm_for_the_past_rings_at_once_and_once() {
        let mut poll = Poll::new().unwrap();
        let mut out = Vec::new();
        let past = WallAlarm::new(0).unwrap();
        let future = WallAlarm::new(i64::MAX / 2_000_000_000).unwrap();
        poll.add(past.as_fd(), 1, Interest::Read).unwrap();
        poll.add(future.as_fd(), 2, Interest::Read).unwrap();
        poll.wait(Some(10_000), &mut out).unwrap();
        assert!(out.len() == 1 && out[0].token == 1);
        past.clear();
        poll.wait(Some(0), &mut out).unwrap();
        assert_eq!(out, []);
    }

    #[test]
    fn a_clock_in_1970_is_not_sane() {
        assert!(!Wall { unix_ms: 0 }.is_sane());
        assert!(Wall::now().is_sane());
        assert!(is_synced(Path::new("/proc")));
        let _ = is_synced(Path::new("/nonexistent"));
    }
}
