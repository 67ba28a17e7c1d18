//! `pisup check`: all that is wrong with a configuration at once, or that nothing is.

use super::{Failure, Screen, show};
use crate::config::plan::Plan;
use crate::wire::check::CheckDoc;
use crate::wire::ctl::to_json;

/// Tells what came of reading a configuration.
pub fn run(
    read: Result<Plan, Vec<String>>,
    is_json: bool,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let (plan, errors) = match read {
        Ok(plan) => (Some(plan), Vec::new()),
        Err(errors) => (None, errors),
    };
    let units = plan.iter().flat_map(|plan| &plan.units).map(|unit| unit.spec.name.as_str());
    let notes = plan.as_ref().map(|plan| plan.notes.as_slice()).unwrap_or_default();
    let units: Vec<&str> = units.collect();
    if is_json {
        let doc = CheckDoc { ok: errors.is_empty(), units: &units, notes, errors: &errors };
        writeln!(screen.out, "{}", to_json(&doc))?;
    } else {
        for text in notes.iter().map(|note| format!("note: {note}")).chain(errors.iter().cloned()) {
            let lines: Vec<String> = text.lines().map(show::clean).collect();
            writeln!(screen.out, "{}", lines.join("\n"))?;
        }
        if errors.is_empty() {
            let plural = if units.len() == 1 { "" } else { "s" };
            writeln!(screen.out, "{} unit{plural}, no errors", units.len())?;
        }
    }
    match errors.len() {
        0 => Ok(()),
        1 => Err(Failure::Failed("the configuration has 1 error".to_owned())),
        count => Err(Failure::Failed(format!("the configuration has {count} errors"))),
    }
}
