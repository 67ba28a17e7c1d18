//! The state of things in documents: `status`, `why`, `env`.

use std::collections::BTreeMap;

use super::Shell;
use super::launch::{Launch, Values};
use super::live::Live;
use crate::machine::spec::Kind;
use crate::machine::{Hold, Phase, Stage, State, UnitId, unit::UnitState};
use crate::wire::ctl::{
    EnvDoc, ExitDoc, Reply, StatusDoc, SupervisorDoc, UnitDoc, VERSION, WhyDoc, WhyStep, code,
};

impl Shell {
    pub(super) fn answer_status(&mut self, id: u32, name: Option<&str>) {
        let units = match name.map(|name| self.unit_of(name)).transpose() {
            Ok(Some(unit)) => vec![unit],
            Ok(None) => self.machine.units().map(|(unit, _, _)| unit).collect(),
            Err(message) => return self.refuse(id, code::NO_SUCH_UNIT, message),
        };
        let known = units.into_iter().filter(|unit| self.is_known(*unit));
        let status = StatusDoc {
            version: VERSION,
            supervisor: self.supervisor_doc(),
            units: known.filter_map(|unit| self.unit_doc(unit)).collect(),
        };
        self.reply(id, &Reply::Status(status));
        self.done(id, code::DONE, String::new());
    }

    fn supervisor_doc(&self) -> SupervisorDoc {
        SupervisorDoc {
            pid: crate::sys::own::pid(),
            boot_id: self.boot_id.clone(),
            uptime_ms: self.now.since(self.started),
            config: self.options.config.display().to_string(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            is_stopping: self.machine.is_shutting_down(),
            warnings: self.warnings.clone(),
        }
    }

    fn unit_doc(&self, unit: UnitId) -> Option<UnitDoc> {
        let spec = self.machine.spec(unit)?;
        let state = self.machine.unit(unit)?;
        let live = self.lives.get(unit.index())?;
        let plan = self.plan.units.get(unit.index());
        let body = live.body.as_ref();
        let exported = |(_, value): &(&String, &String)| !value.is_empty();
        let exports = state.exports.iter().filter(exported);
        Some(UnitDoc {
            name: spec.name.clone(),
            kind: match spec.kind {
                Kind::Service => "service".to_owned(),
                Kind::Oneshot => "oneshot".to_owned(),
            },
            state: state.state().word().to_owned(),
            ready: state.is_up(),
            pid: body.and_then(|body| body.main.or(body.step)),
            main_pid: body.and_then(|body| body.container).or_else(|| live.main()),
            since_ms: self.now.since(live.since),
            starts: live.starts,
            failures: state.failures,
            degraded: is_degraded(spec.restart.degraded_after, state.failures),
            waiting_for: self.waiting_for(unit),
            cause: live.cause.clone(),
            retry_in_ms: match state.phase {
                Phase::Backoff { until } => Some(until.since(self.now)),
                _ => None,
            },
            exit: live.exit.and_then(ExitDoc::of),
            exports: exports.map(|(key, value)| (key.clone(), value.clone())).collect(),
            memory_bytes: live.group.as_ref().and_then(|group| group.memory_bytes()),
            log_dropped: live.capture.as_ref().map_or(0, |capture| capture.ring().dropped()),
            description: plan.map(|plan| plan.description.clone()).unwrap_or_default(),
            status_text: body.and_then(|body| body.status_text.clone()),
            missing: self.missing_gates(unit, state),
            notes: self.notes(unit, live, state),
        })
    }

    fn missing_gates(&self, unit: UnitId, state: &UnitState) -> Vec<String> {
        let gates = self.machine.spec(unit).map(|spec| spec.readiness.gates);
        match (&state.phase, gates) {
            (Phase::Starting { held, .. }, Some(gates)) => {
                gates.without(*held).iter().map(|gate| gate.key().to_owned()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn notes(&self, unit: UnitId, live: &Live, state: &UnitState) -> Vec<String> {
        let mut notes: Vec<String> = live.notes.iter().cloned().collect();
        let required = self.machine.spec(unit).map(|spec| spec.exports.as_slice());
        for key in required.unwrap_or_default() {
            if state.is_up() && self.machine.value(unit, key).is_none() {
                notes.push(format!("is ready, but has not exported {key}"));
            }
        }
        notes
    }

    /// What a unit waits for, a sentence.
    pub(super) fn waiting_for(&self, unit: UnitId) -> Option<String> {
        let state = self.machine.unit(unit)?;
        match &state.phase {
            Phase::Waiting { on: Hold::World(_), .. } if self.conditions.reason(unit).is_some() => {
                self.conditions.reason(unit).map(str::to_owned)
            }
            Phase::Waiting { on, .. } => Some(on.sentence(|unit| self.machine.name(unit))),
            Phase::Starting { .. } => {
                let missing = self.missing_gates(unit, state);
                let said = self.probing_says(unit);
                match (missing.is_empty(), said) {
                    (true, _) => None,
                    (false, None) => Some(format!("waits for {}", missing.join(", "))),
                    (false, Some(said)) => {
                        Some(format!("waits for {} ({said})", missing.join(", ")))
                    }
                }
            }
            Phase::Stopping { stage: Stage::Ordered, .. } => {
                let follower =
                    self.machine.followers_to_go().get(unit.index()).copied().flatten()?;
                Some(format!("waits for {} to stop first", self.machine.name(follower)))
            }
            Phase::Down
            | Phase::Preparing { .. }
            | Phase::Ready { .. }
            | Phase::Done
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed => None,
        }
    }

    pub(super) fn answer_why(&mut self, id: u32, name: &str) {
        let first = match self.unit_of(name) {
            Ok(unit) => unit,
            Err(message) => return self.refuse(id, code::NO_SUCH_UNIT, message),
        };
        let mut chain = Vec::new();
        let mut seen = vec![first];
        let mut next = Some(first);
        while let Some(unit) = next {
            chain.push(self.why_step(unit));
            next = self.reason_of(unit).filter(|reason| !seen.contains(reason));
            seen.extend(next);
        }
        self.reply(id, &Reply::Why(WhyDoc { unit: name.to_owned(), chain }));
        self.done(id, code::DONE, String::new());
    }

    fn why_step(&self, unit: UnitId) -> WhyStep {
        let live = self.lives.get(unit.index());
        let state = self.machine.unit(unit).map_or(State::Down, |state| state.state());
        let cause = live.map(|live| live.cause.clone()).unwrap_or_default();
        WhyStep {
            unit: self.machine.name(unit).to_owned(),
            state: state.word().to_owned(),
            since_ms: live.map_or(0, |live| self.now.since(live.since)),
            sentence: self.waiting_for(unit).unwrap_or(cause),
        }
    }

    /// The unit that is the reason for another one's state.
    fn reason_of(&self, unit: UnitId) -> Option<UnitId> {
        match &self.machine.unit(unit)?.phase {
            Phase::Waiting { on, .. } => match on {
                Hold::Needs(dep)
                | Hold::Stopped(dep)
                | Hold::Broken(dep)
                | Hold::Ended(dep)
                | Hold::Wants(dep)
                | Hold::Value(dep, _)
                | Hold::Leaver(dep) => Some(*dep),
                Hold::Undead | Hold::World(_) => None,
            },
            Phase::Stopping { stage: Stage::Ordered, .. } => {
                self.machine.followers_to_go().get(unit.index()).copied().flatten()
            }
            _ => None,
        }
    }

    pub(super) fn answer_env(&mut self, id: u32, name: &str) {
        let unit = match self.unit_of(name) {
            Ok(unit) => unit,
            Err(message) => return self.refuse(id, code::NO_SUCH_UNIT, message),
        };
        let doc = self.env_doc(unit);
        self.reply(id, &Reply::Env(doc));
        self.done(id, code::DONE, String::new());
    }

    fn env_doc(&self, unit: UnitId) -> EnvDoc {
        let mut doc = EnvDoc { unit: self.machine.name(unit).to_owned(), ..EnvDoc::default() };
        let spec = self.machine.spec(unit);
        doc.values = spec
            .into_iter()
            .flat_map(|spec| &spec.uses)
            .map(|each| {
                let given = self.machine.value_in_use(unit, each.unit, &each.key);
                let value = given.or_else(|| self.machine.value(each.unit, &each.key));
                (format!("{}.{}", self.machine.name(each.unit), each.key), value.map(str::to_owned))
            })
            .collect::<BTreeMap<_, _>>();
        let Some(plan) = self.plan.units.get(unit.index()) else {
            return doc;
        };
        let (program, run) = (&self.own_program, &self.options.run);
        match Launch::main(plan, Values::of(&self.machine, unit), program, run) {
            Ok(launch) => {
                doc.exec = launch.argv;
                doc.env = launch.env.into_iter().collect();
                doc.notes = launch.notes;
            }
            Err(why) => doc.notes.push(why),
        }
        doc
    }
}

const fn is_degraded(after: u32, failures: u32) -> bool {
    after > 0 && failures >= after
}
