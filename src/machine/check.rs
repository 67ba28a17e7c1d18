//! What is always so; looked at after every step where debug assertions are on.

use super::Machine;
use super::unit::{Body, Phase, Stage, Want};

impl Machine {
    /// Names the first rule that does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        let mut runs: alloc::vec::Vec<_> = self
            .units
            .iter()
            .flat_map(|state| [state.run(), state.undead.map(|(run, _)| run)].into_iter().flatten())
            .collect();
        let count = runs.len();
        runs.sort_unstable();
        runs.dedup();
        if runs.len() != count {
            return Err("two units, or two lives of one, share a run");
        }
        for (_, spec, state) in self.units() {
            let given = state.used.len();
            if given != 0 && given != spec.uses.len() {
                return Err("a run has some of its values, but not all");
            }
            let is_over = state.want != Want::On || self.is_shutting_down();
            let has_left = match &state.phase {
                Phase::Down => true,
                Phase::Stopping { .. } => true,
                Phase::Waiting { .. }
                | Phase::Preparing { .. }
                | Phase::Starting { .. }
                | Phase::Ready { .. }
                | Phase::Done
                | Phase::Backoff { .. }
                | Phase::Failed => false,
            };
            if is_over && !has_left {
                return Err("a unit that is not wanted stays up");
            }
            if let Phase::Stopping { body: Body::Unborn, stage: Stage::Asked { .. }, .. } =
                state.phase
            {
                return Err("a process was asked to end before it was there");
            }
            if let Phase::Stopping { body, stage, .. } = state.phase
                && (body == Body::Leftovers) != matches!(stage, Stage::Sweeping { .. })
            {
                return Err("what is left behind is swept, and nothing else is");
            }
        }
        Ok(())
    }
}
