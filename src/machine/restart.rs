//! What a failure leads to: another try, after how long, or none.

use super::Machine;
use super::cause::Cause;
use super::event::{Action, Exit};
use super::ids::{Tick, UnitId};
use super::spec::{Policy, Restart};
use super::unit::{Next, Phase, Want};

impl Restart {
    /// Milliseconds before the next try after so many failures in a row; `salt` spreads them.
    #[must_use]
    pub fn delay_after(&self, failures: u32, salt: u64) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        let delay = self.delay_ms.saturating_mul(1 << doublings).min(self.max_delay_ms);
        if !self.has_jitter {
            return delay;
        }
        // Plus or minus 20 %, so that a shelf of Pis on one power strip does not march in step.
        let percent = 80 + scramble(salt ^ u64::from(failures)) % 41;
        delay.saturating_mul(percent) / 100
    }
}

/// A number that looks nothing like the one before it (the finaliser of splitmix64).
const fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Machine {
    /// Counts a failure and says what follows; `exit` is how the process ended, if it did.
    pub(super) fn fail(&mut self, unit: UnitId, exit: Option<Exit>, now: Tick) -> Next {
        let is_final = self.spec(unit).is_some_and(|spec| {
            let is_fatal = matches!(exit, Some(Exit::Code(code))
                if spec.restart.fatal_exit_codes.contains(&code));
            is_fatal || spec.restart.policy == Policy::Never
        });
        self.count_failure(unit, is_final, now)
    }

    /// Counts a failure and says what follows: another try, unless this one `is_final`.
    pub(super) fn count_failure(&mut self, unit: UnitId, is_final: bool, now: Tick) -> Next {
        let salt = self.seed ^ (u64::from(unit.0) << 32);
        let Some((spec, state)) = self.both(unit) else {
            return Next::Again;
        };
        if state.bounce.is_some() || state.want != Want::On {
            return Next::Again;
        }
        let stable_ms = spec.restart.stable_ms;
        let was_stable = matches!(state.phase, Phase::Ready { since, .. }
            if now.since(since) >= stable_ms);
        state.failures = if was_stable { 1 } else { state.failures.saturating_add(1) };
        let failures = state.failures;
        if is_final {
            return Next::Failed;
        }
        let delay = if was_stable { 0 } else { spec.restart.delay_after(failures, salt) };
        if failures == spec.restart.degraded_after {
            self.tell(Action::Note(unit, Cause::Degraded(failures)));
        }
        Next::Retry(now.after(delay))
    }

    /// What follows when the main process of a ready service ends without being asked.
    pub(super) fn after_exit(&mut self, unit: UnitId, exit: Exit, now: Tick) -> (Next, Cause) {
        let Some(spec) = self.spec(unit) else {
            return (Next::Again, Cause::Died(exit));
        };
        let ends_in_peace = exit.is_success()
            && spec.restart.policy != Policy::Always
            && !spec.restart.fatal_exit_codes.contains(&0);
        if ends_in_peace {
            return (Next::Rest, Cause::EndedWell);
        }
        match self.fail(unit, Some(exit), now) {
            Next::Failed if self.spec(unit).is_some_and(|s| s.restart.policy != Policy::Never) => {
                (Next::Failed, Cause::FatalExit(exit))
            }
            next => (next, Cause::Died(exit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn restart(has_jitter: bool) -> Restart {
        Restart {
            policy: Policy::Always,
            delay_ms: 1000,
            max_delay_ms: 60_000,
            stable_ms: 10_000,
            degraded_after: 5,
            fatal_exit_codes: Vec::new(),
            has_jitter,
        }
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let delays: Vec<u64> = (1..9).map(|n| restart(false).delay_after(n, 0)).collect();
        assert_eq!(delays, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(restart(false).delay_after(u32::MAX, 0), 60_000);
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_moves() {
        let delays: Vec<u64> = (0..100).map(|salt| restart(true).delay_after(1, salt)).collect();
        assert!(delays.iter().all(|delay| (800..=1200).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 900));
        assert!(delays.iter().any(|delay| *delay > 1100));
    }
}
