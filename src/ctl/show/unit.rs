//! `status UNIT`: all about one unit.

use std::io::{self, Write};

use super::{Look, clean, event, log, size, why_not};
use crate::machine::cause;
use crate::wire::ctl::{EventDoc, ExitDoc, LogDoc, UnitDoc};

/// All about a unit: its facts, its last changes and its last lines of output.
pub fn unit(
    out: &mut dyn Write,
    look: Look,
    unit: &UnitDoc,
    events: &[EventDoc],
    lines: &[LogDoc],
) -> io::Result<()> {
    writeln!(out, "{}", clean(&[unit.name.as_str(), &unit.description].join("  ")).trim_end())?;
    let state = look.state(&clean(&unit.state));
    writeln!(out, "  {:<9} {state} for {}", "state", cause::duration(unit.since_ms))?;
    for (label, text) in facts(unit) {
        writeln!(out, "  {label:<9} {}", clean(&text))?;
    }
    for (index, (key, value)) in unit.exports.iter().enumerate() {
        let label = if index == 0 { "exports" } else { "" };
        writeln!(out, "  {label:<9} {}", clean(&format!("{key}={value}")))?;
    }
    if !events.is_empty() {
        writeln!(out, "\nlast changes")?;
    }
    for doc in events {
        write!(out, "  ")?;
        event(out, look, doc)?;
    }
    if !lines.is_empty() {
        writeln!(out, "\nlast output")?;
    }
    for doc in lines {
        write!(out, "  ")?;
        log(out, look, None, doc)?;
    }
    Ok(())
}

/// What is known of it beside its state, as far as there is something to tell.
fn facts(unit: &UnitDoc) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    facts.push(("why", why_not(unit)));
    if let Some(said) = &unit.status_text {
        facts.push(("it says", said.clone()));
    }
    if let Some(pid) = unit.main_pid.or(unit.pid) {
        let starter = unit.pid.filter(|starter| *starter != pid);
        let starter = starter.map_or_else(String::new, |pid| format!(" (held by {pid})"));
        facts.push(("pid", format!("{pid}{starter}")));
    }
    if let Some(bytes) = unit.memory_bytes {
        facts.push(("memory", size(bytes)));
    }
    facts.push(("starts", unit.starts.to_string()));
    if unit.failures > 0 {
        facts.push(("failures", format!("{} in a row", unit.failures)));
    }
    match &unit.exit {
        Some(ExitDoc::Code(code)) => facts.push(("last exit", format!("code {code}"))),
        Some(ExitDoc::Signal(name)) => facts.push(("last exit", format!("signal {name}"))),
        None => {}
    }
    for note in &unit.notes {
        facts.push(("note", note.clone()));
    }
    if unit.log_dropped > 0 {
        facts.push(("output", format!("{} lines lost", unit.log_dropped)));
    }
    facts.retain(|(_, text)| !text.is_empty());
    facts
}
