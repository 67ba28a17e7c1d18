//! A new configuration: what is different, what that leads to, and the change itself.

use super::client::Goal;
use super::jobs::plan_doc;
use super::live::Live;
use super::watching::Purpose;
use super::{Shell, journal, load};
use crate::config::plan::{Plan, Unit};
use crate::config::{self, Change, renumbered};
use crate::machine::{UnitId, Want};
use crate::wire::ctl::{ChangeDoc, PlanDoc, Reply, code};

/// The id of a unit that is there no more.
const NOBODY: UnitId = UnitId(u16::MAX);

impl Shell {
    pub(super) fn answer_reload_config(&mut self, id: u32, no_wait: bool, dry_run: bool) {
        let plan = match load(&self.options.config) {
            Ok(plan) => plan,
            Err(faults) => {
                let message = format!(
                    "the configuration is refused, the one in force stays:\n{}",
                    faults.join("\n")
                );
                return self.refuse(id, code::FAILED, message);
            }
        };
        let changes = self.compare(&plan);
        let restarted = to_restart(&plan, &changes);
        let mut doc = self.foresee(&plan, &restarted);
        doc.changes = changes.iter().map(|(unit, change)| told(unit, change)).collect();
        let has_changes = !doc.changes.is_empty();
        self.reply(id, &Reply::Plan(doc));
        if dry_run || !has_changes {
            let message = if has_changes { "" } else { "nothing has changed" };
            return self.done(id, code::DONE, message.to_owned());
        }
        let goals = self.take_over(plan, &restarted, &changes);
        if no_wait {
            return self.done(id, code::DONE, "the new configuration is in force".to_owned());
        }
        if goals.is_empty() {
            let message = "the new configuration is in force; no unit had to move".to_owned();
            return self.done(id, code::DONE, message);
        }
        let scope = goals.iter().map(|(unit, _)| *unit).collect();
        self.wait_for(id, goals, scope);
    }

    /// SIGHUP: the same without anybody to tell.
    pub(super) fn reload_by_signal(&mut self) {
        match load(&self.options.config) {
            Ok(plan) => {
                let changes = self.compare(&plan);
                let restarted = to_restart(&plan, &changes);
                log::info!("the configuration was read again: {} changes", changes.len());
                if !changes.is_empty() {
                    self.take_over(plan, &restarted, &changes);
                }
            }
            Err(faults) => {
                log::error!("the configuration is refused, the one in force stays");
                journal::tell_faults(&faults);
            }
        }
    }

    /// What is different in a new configuration, now that all that has happened is told to those
    /// it happened to: they are called by other ids behind it.
    fn compare(&mut self, plan: &Plan) -> Vec<(String, Change)> {
        self.pump();
        let mut in_force = self.plan.clone();
        // Behind its units are those that are in it no more, and still end.
        let known = self.machine.units().filter(|(_, _, state)| !state.is_retired).count();
        in_force.units.truncate(known);
        let mut changes = config::difference(&in_force, plan);
        for unit in &plan.units {
            let name = &unit.spec.name;
            let own = self.machine.find(name).filter(|id| self.is_outdated(*id, plan, unit));
            let restarts = |(of, change): &(String, Change)| {
                of == name && matches!(change, Change::Restart(_))
            };
            if own.is_some() && !changes.iter().any(restarts) {
                changes.retain(|(of, _)| of != name);
                changes.push((name.clone(), Change::Restart(vec!["configuration"])));
            }
        }
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        changes
    }

    /// Whether what is up was started by another configuration than that: the supervisor was
    /// killed between the change of a file and the restart that it leads to.
    fn is_outdated(&self, id: UnitId, plan: &Plan, unit: &Unit) -> bool {
        let is_up = self.machine.unit(id).is_some_and(|own| own.is_live() || own.is_up());
        let made_of = self.lives.get(id.index()).map_or(0, |live| live.made_of);
        let is_comparable = made_of != 0 && config::of_release(made_of);
        is_up && is_comparable && made_of != config::made_of(plan, unit)
    }

    /// Says so where it is; that alone is no reason to stop a service.
    pub(super) fn tell_outdated(&mut self, id: UnitId) {
        let unit = self.plan.units.get(id.index());
        if unit.is_some_and(|unit| self.is_outdated(id, &self.plan, unit)) {
            let advice = "pisup ctl reload-config starts it anew";
            self.note(id, format!("runs by an earlier configuration; {advice}"));
        }
    }

    /// What a new configuration would lead to.
    fn foresee(&self, plan: &Plan, restarted: &[UnitId]) -> PlanDoc {
        let specs = plan.units.iter().map(|unit| unit.spec.clone()).collect();
        let (steps, machine) = self.machine.plan_reload(specs, restarted, self.now);
        plan_doc(&steps, &machine)
    }

    /// Puts a configuration in force; answers with what is to be reached by that.
    fn take_over(
        &mut self,
        plan: Plan,
        restarted: &[UnitId],
        changes: &[(String, Change)],
    ) -> Vec<(UnitId, Goal)> {
        let specs = plan.units.iter().map(|unit| unit.spec.clone()).collect();
        let (actions, origin) = self.machine.reload(specs, restarted, self.now);
        let mut old_lives: Vec<Option<Live>> =
            std::mem::take(&mut self.lives).into_iter().map(Some).collect();
        let old_plan = std::mem::replace(&mut self.plan, plan);
        let mut kept = vec![None; old_lives.len()];
        for (index, before) in origin.iter().enumerate() {
            let live = before.and_then(|id| old_lives.get_mut(id.index())).and_then(Option::take);
            self.lives.push(live.unwrap_or_else(|| Live::new(self.now)));
            let slot = before.and_then(|id| kept.get_mut(id.index()));
            if let (Some(slot), Ok(new)) = (slot, u16::try_from(index)) {
                *slot = Some(UnitId(new));
            }
        }
        let new_id = |old: UnitId| kept.get(old.index()).copied().flatten();
        for id in origin.iter().skip(self.plan.units.len()).flatten() {
            // It leaves by the rules that it lived by.
            let unit = old_plan.units.get(id.index());
            let unit = unit.map(|unit| renumbered(unit, |id| new_id(id).unwrap_or(NOBODY)));
            self.plan.units.extend(unit);
        }
        for (unit, live) in old_plan.units.iter().zip(&mut old_lives) {
            if let Some(live) = live {
                self.bury(unit, live);
            }
        }
        self.renumber(&kept);
        let total = self.lives.len();
        let name = |unit: UnitId| match old_plan.units.get(unit.index()) {
            Some(unit) => unit.spec.name.clone(),
            None => "?".to_owned(),
        };
        for client in self.clients.values_mut() {
            client.asking.renumber(&kept, total, name);
        }
        // Before anything is started: that start is the one which is waited for.
        let goals = self.goals_of(restarted, changes);
        for action in actions {
            self.perform(action);
        }
        self.follow_watchdog();
        self.follow_queries();
        self.pump();
        goals
    }

    /// Everything that knew a unit by its old id learns the new one.
    fn renumber(&mut self, kept: &[Option<UnitId>]) {
        let new_id = |old: UnitId| kept.get(old.index()).copied().flatten();
        self.reloads += 1;
        self.children.renumber(new_id);
        self.activation.renumber(new_id);
        // The machine asks anew for those that wait.
        let waiting: Vec<UnitId> = self.conditions.units().collect();
        for unit in waiting {
            self.conditions.remove(unit, &self.poll);
            self.watching.remove(Purpose::Condition(unit));
        }
        self.watching.rename(|purpose| purpose.renumbered(new_id));
        for index in 0..self.lives.len() {
            if let Ok(index) = u16::try_from(index) {
                self.rewatch(UnitId(index));
                self.reconfigure_output(UnitId(index));
                self.settle_in(UnitId(index));
            }
        }
    }

    fn goals_of(&self, restarted: &[UnitId], changes: &[(String, Change)]) -> Vec<(UnitId, Goal)> {
        let goal = |unit: UnitId, is_new: bool| {
            let live = self.lives.get(unit.index())?;
            let starts = if is_new { None } else { Some(live.starts) };
            Some((unit, Goal::Up { starts, failures: live.failures }))
        };
        let wanted =
            |unit: &UnitId| self.machine.unit(*unit).is_some_and(|state| state.want == Want::On);
        let mut goals: Vec<(UnitId, Goal)> =
            restarted.iter().copied().filter(wanted).filter_map(|unit| goal(unit, false)).collect();
        for (name, change) in changes {
            let Some(unit) = self.machine.find(name) else {
                continue;
            };
            match change {
                Change::Added if wanted(&unit) => goals.extend(goal(unit, true)),
                Change::Removed => goals.push((unit, Goal::Down)),
                Change::Added | Change::Restart(_) | Change::Adopt(_) => {}
            }
        }
        goals
    }
}

fn to_restart(plan: &Plan, changes: &[(String, Change)]) -> Vec<UnitId> {
    let restarts = changes.iter().filter(|(_, change)| matches!(change, Change::Restart(_)));
    restarts.filter_map(|(name, _)| plan.find(name)).collect()
}

fn told(unit: &str, change: &Change) -> ChangeDoc {
    let what = match change {
        Change::Added => "added".to_owned(),
        Change::Removed => "removed; it is stopped".to_owned(),
        Change::Restart(keys) => format!("{} changed; it is restarted", keys.join(", ")),
        Change::Adopt(keys) => format!("{} changed; taken over as it runs", keys.join(", ")),
    };
    ChangeDoc { unit: unit.to_owned(), what }
}
