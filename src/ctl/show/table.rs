//! `status`: one line a unit.

use std::io::{self, Write};

use super::{Look, clean, clip, size};
use crate::machine::cause;
use crate::wire::ctl::{StatusDoc, UnitDoc};

/// Columns of the table before the last one; the last is WHY.
const HEADS: [&str; 6] = ["UNIT", "STATE", "SINCE", "PID", "RESTARTS", "MEMORY"];

/// Which of them is the state, and so has a colour.
const STATE: usize = 1;

/// The table of all units.
pub fn status(out: &mut dyn Write, look: Look, doc: &StatusDoc) -> io::Result<()> {
    let rows: Vec<([String; 6], String)> =
        doc.units.iter().map(|unit| (cells(unit), clean(&why_not(unit)))).collect();
    let heads = HEADS.map(str::to_owned);
    let mut widths = [0; 6];
    for cells in rows.iter().map(|(cells, _)| cells).chain([&heads]) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.chars().count().max(*width);
        }
    }
    row(out, Look { has_colours: false, ..look }, &widths, &heads, "WHY")?;
    for (cells, why) in &rows {
        row(out, look, &widths, cells, why)?;
    }
    if doc.supervisor.is_stopping {
        writeln!(out, "everything is being shut down")?;
    }
    for warning in &doc.supervisor.warnings {
        writeln!(out, "warning: {}", clean(warning))?;
    }
    Ok(())
}

/// What there is to say about a unit in one sentence; nothing about one that is simply ready.
#[must_use]
pub fn why_not(unit: &UnitDoc) -> String {
    let mut text = match unit.state.as_str() {
        "waiting" => unit.waiting_for.as_ref().unwrap_or(&unit.cause).clone(),
        "starting" if !unit.missing.is_empty() => format!("not yet: {}", unit.missing.join(", ")),
        "ready" | "done" => match (unit.notes.first(), &unit.status_text) {
            (Some(note), _) => note.clone(),
            (None, Some(said)) => said.clone(),
            (None, None) if unit.cause == unit.state => String::new(),
            (None, None) => unit.cause.clone(),
        },
        _ => unit.cause.clone(),
    };
    if let (Some(said), "starting") = (&unit.status_text, unit.state.as_str()) {
        text = format!("{text}; it says: {said}");
    }
    if unit.degraded {
        text = format!("degraded: {text}; {} failures in a row", unit.failures);
    }
    match unit.retry_in_ms {
        Some(ms) => format!("{text}; next try in {}", cause::duration(ms)),
        None => text,
    }
}

fn cells(unit: &UnitDoc) -> [String; 6] {
    let dash = || "-".to_owned();
    let pid = unit.main_pid.or(unit.pid);
    [
        clean(&unit.name),
        clean(&unit.state),
        cause::duration(unit.since_ms),
        pid.map_or_else(dash, |pid| pid.to_string()),
        unit.starts.saturating_sub(1).to_string(),
        unit.memory_bytes.map_or_else(dash, size),
    ]
}

/// One line, cut at the edge of the terminal; colours take no room.
fn row(
    out: &mut dyn Write,
    look: Look,
    widths: &[usize; 6],
    cells: &[String; 6],
    why: &str,
) -> io::Result<()> {
    let mut left = look.columns.unwrap_or(usize::MAX);
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let text = clip(&format!("{cell:<width$}  "), left);
        left -= text.chars().count();
        match index == STATE {
            true => line.push_str(&look.state(&text)),
            false => line.push_str(&text),
        }
    }
    line.push_str(&clip(why, left));
    writeln!(out, "{}", line.trim_end())
}
