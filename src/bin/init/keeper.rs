//! When a supervisor that died is started again, and when that makes no sense.

/// Deaths within [`WINDOW_MS`] that make no sense.
const DEATHS: usize = 5;
pub const WINDOW_MS: u64 = 60_000;
/// The first death is an accident: it is started at once. Then it doubles.
const FIRST_DELAY_MS: u64 = 1000;
const DELAY_MS_MAX: u64 = 30_000;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again in so many milliseconds.
    StartIn(u64),
    /// Let a person look.
    Rescue,
}

/// What is remembered of deaths.
#[derive(Debug)]
pub struct Keeper {
    settled_after_ms: u64,
    /// When the last ones were.
    deaths: [Option<u64>; DEATHS],
    next: usize,
    delay_ms: u64,
}

impl Keeper {
    /// No death yet. A supervisor has settled after so many milliseconds: it was no failed start.
    pub const fn new(settled_after_ms: u64) -> Self {
        Self { settled_after_ms, deaths: [None; DEATHS], next: 0, delay_ms: 0 }
    }

    /// A supervisor that was started at `since` has died at `now`, milliseconds both.
    pub fn died(&mut self, since: u64, now: u64) -> Verdict {
        if now.saturating_sub(since) >= self.settled_after_ms {
            *self = Self::new(self.settled_after_ms);
        }
        if let Some(slot) = self.deaths.get_mut(self.next) {
            *slot = Some(now);
        }
        self.next = (self.next + 1) % DEATHS;
        // The next one to be overwritten is the oldest.
        let oldest = self.deaths.get(self.next).copied().flatten();
        if oldest.is_some_and(|oldest| now.saturating_sub(oldest) < WINDOW_MS) {
            *self = Self::new(self.settled_after_ms);
            return Verdict::Rescue;
        }
        let delay_ms = self.delay_ms;
        self.delay_ms = (delay_ms * 2).clamp(FIRST_DELAY_MS, DELAY_MS_MAX);
        Verdict::StartIn(delay_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_then_later_and_later_then_a_person() {
        let mut keeper = Keeper::new(WINDOW_MS);
        let mut now = 5000;
        for _ in 0..3 {
            for delay in [0, 1000, 2000, 4000] {
                assert_eq!(keeper.died(now, now + 10), Verdict::StartIn(delay));
                now += 10 + delay;
            }
            assert_eq!(keeper.died(now, now + 10), Verdict::Rescue);
        }
    }

    #[test]
    fn slow_deaths_wait_at_most_half_a_minute() {
        let mut keeper = Keeper::new(WINDOW_MS);
        let (mut now, mut last) = (0, 0);
        for _ in 0..20 {
            // It lives for 20 seconds each time.
            match keeper.died(now, now + 20_000) {
                Verdict::StartIn(delay) => last = delay,
                Verdict::Rescue => panic!("at {now}"),
            }
            now += 20_000 + last;
        }
        assert_eq!(last, DELAY_MS_MAX);
        assert_eq!(keeper.died(now, now + WINDOW_MS), Verdict::StartIn(0));
    }
}
