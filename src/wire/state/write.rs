//! A state as bytes.

use super::text::Writer;
use super::{Body, Life, MAGIC, Process, State, VERSION, crc32};
use crate::machine::{
    Body as Part, Cause, Exit, Hold, Next, Phase, Remembered, Stage, UnitId, Want,
};

impl State {
    /// The bytes of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = Writer::default();
        out.word(&self.boot_id).end();
        out.key("at").number(self.at.0).end();
        out.key("changes").number(self.changes).end();
        out.key("next-run").number(self.memory.next_run).end();
        if let Some(by) = self.memory.shutdown {
            out.key("shutdown").instant(by).end();
        }
        for (unit, life) in self.memory.units.iter().zip(&self.lives) {
            self::unit(&mut out, unit);
            self::life(&mut out, life);
        }
        let (rest, crc) = (&out.0, crc32(out.0.as_bytes()));
        format!("{MAGIC} {VERSION} {crc:08x}{rest}")
    }
}

fn unit(out: &mut Writer, unit: &Remembered) {
    let state = &unit.state;
    out.key("unit").text(&unit.name).end();
    for each in &unit.uses {
        out.key("use").number(each.unit.0).text(&each.key).end();
    }
    for value in &state.used {
        out.key("given").text(value).end();
    }
    out.key("want").word(want(state.want)).end();
    phase(out, &state.phase);
    if state.failures > 0 {
        out.key("failures").number(state.failures).end();
    }
    for (key, value) in &state.exports {
        out.key("export").text(key).text(value).end();
    }
    match state.bounce {
        Some(Cause::RestartAsked) => out.key("bounce").word("restart").end(),
        Some(_) => out.key("bounce").word("config").end(),
        None => {}
    }
    if !state.unmet.is_empty() {
        out.key("unmet").number(state.unmet.bits()).end();
    }
    if let Some(ms) = state.watchdog_ms {
        out.key("watchdog").number(ms).end();
    }
    if let Some((run, body)) = state.undead {
        out.key("undead").number(run.0);
        part(out, body);
        out.end();
    }
    if state.is_retired {
        out.key("retired").end();
    }
}

const fn want(want: Want) -> &'static str {
    match want {
        Want::Idle => "idle",
        Want::On => "on",
        Want::Stopped => "stopped",
        Want::Rest => "rest",
    }
}

fn phase(out: &mut Writer, phase: &Phase) {
    out.key("phase");
    match phase {
        Phase::Down => out.word("down"),
        Phase::Waiting { on, since, goes_alone } => {
            out.word("waiting").number(since.0).number(*goes_alone);
            hold(out, on)
        }
        Phase::Preparing { run, step, until } => {
            out.word("preparing").number(run.0).number(*step).instant(*until)
        }
        Phase::Starting { run, alive, held, until } => {
            out.word("starting").number(run.0).number(*alive).number(held.bits()).instant(*until)
        }
        Phase::Ready { run, since, .. } => out.word("ready").number(run.0).number(since.0),
        Phase::Done => out.word("done"),
        Phase::Stopping { run, body, stage, next } => {
            out.word("stopping").number(run.0);
            part(out, *body);
            match stage {
                Stage::Ordered => out.word("ordered"),
                Stage::Asked { kill_at } => out.word("asked").instant(*kill_at),
                Stage::Killed { until } => out.word("killed").number(until.0),
                Stage::Sweeping { until } => out.word("sweeping").number(until.0),
            };
            match next {
                Next::Again => out.word("again"),
                Next::Retry(at) => out.word("retry").number(at.0),
                Next::Failed => out.word("failed"),
                Next::Done => out.word("done"),
                Next::Rest => out.word("rest"),
            }
        }
        Phase::Backoff { until } => out.word("backoff").number(until.0),
        Phase::Failed => out.word("failed"),
    };
    out.end();
}

fn part(out: &mut Writer, part: Part) {
    match part {
        Part::Unborn => out.word("unborn"),
        Part::Step(step) => out.word("step").number(step),
        Part::Main => out.word("main"),
        Part::Leftovers => out.word("leftovers"),
    };
}

fn hold<'a>(out: &'a mut Writer, hold: &Hold) -> &'a mut Writer {
    let mut on = |word: &str, unit: &UnitId| {
        out.word(word).number(unit.0);
    };
    match hold {
        Hold::Needs(unit) => on("needs", unit),
        Hold::Stopped(unit) => on("stopped", unit),
        Hold::Broken(unit) => on("broken", unit),
        Hold::Ended(unit) => on("ended", unit),
        Hold::Wants(unit) => on("wants", unit),
        Hold::Leaver(unit) => on("leaver", unit),
        Hold::Value(unit, key) => {
            on("value", unit);
            out.text(key);
        }
        Hold::Undead => drop(out.word("undead")),
        Hold::World(set) => drop(out.word("world").number(set.bits())),
    }
    out
}

fn life(out: &mut Writer, life: &Life) {
    out.key("since").number(life.since.0).text(&life.cause).end();
    out.key("starts").number(life.starts).end();
    if life.made_of != 0 {
        out.key("made-of").number(life.made_of).end();
    }
    out.key("failed").number(life.failures).text(&life.failure).end();
    match life.exit {
        Some(Exit::Code(code)) => out.key("exit").word("code").number(code).end(),
        Some(Exit::Signal(signal)) => out.key("exit").word("signal").number(signal).end(),
        Some(Exit::Unknown) => out.key("exit").word("unknown").end(),
        None => {}
    }
    for note in &life.notes {
        out.key("note").text(note).end();
    }
    for change in &life.changes {
        out.key("change").number(change.number).number(change.at.0);
        out.word(change.from.word()).word(change.to.word()).text(&change.cause).end();
    }
    if let Some(Process { pid, start_time }) = life.left {
        out.key("left").number(pid).number(start_time).end();
    }
    if let Some(body) = &life.body {
        self::body(out, body);
    }
}

fn body(out: &mut Writer, body: &Body) {
    out.key("body").number(body.run.0).end();
    if let Some(Process { pid, start_time }) = body.main {
        out.key("main").number(pid).number(start_time).end();
    }
    if let Some((step, ignores_failure, Process { pid, start_time })) = body.step {
        out.key("step").number(step).number(ignores_failure);
        out.number(pid).number(start_time).end();
    }
    if let Some(session) = body.session {
        out.key("session").number(session).end();
    }
    if let Some(container) = body.container {
        out.key("container").number(container).end();
    }
    if let Some(text) = &body.status_text {
        out.key("status").text(text).end();
    }
    if let Some(until) = body.reloads_until {
        out.key("reloading").number(until.0).end();
    }
    if let Some(file) = &body.ready_file {
        out.key("ready-file").text(file).end();
    }
    if body.is_asked {
        out.key("asked").end();
    }
}
