//! Questions: asks, and shows what comes until the answer is complete.

use std::io::Write;

use super::client::{Connection, Next};
use super::{Failure, Screen, job, show};
use crate::wire::ctl::{
    Done, EventDoc, LogDoc, Reply, Request, StatusDoc, UnitDoc, VERSION, to_json,
};

/// Events of a unit that its status shows.
const STATUS_EVENTS: u32 = 8;

/// Lines of output of a unit that its status shows.
const STATUS_LINES: u32 = 10;

/// Names longer than this are not waited for when lines are aligned.
const PREFIX_MAX: usize = 20;

/// Asks, and shows the answer as it comes.
pub fn run(
    connection: &mut Connection,
    request: &Request,
    is_json: bool,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    connection.ask(request)?;
    let mut prefix = match request {
        Request::Logs { units, .. } if units.len() != 1 => {
            Some(units.iter().map(|unit| unit.chars().count()).max().unwrap_or_default())
        }
        _ => None,
    };
    let mut running = Ok(());
    while let Some(reply) = next(connection, request, screen.out)? {
        if let Reply::Status(doc) = &reply {
            check_version(doc)?;
            if let (Request::Status { unit: Some(_) }, [unit]) = (request, doc.units.as_slice()) {
                running = is_running(unit);
            }
        }
        let (out, look) = (&mut *screen.out, screen.look);
        match reply {
            Reply::Status(doc) if is_json => writeln!(out, "{}", to_json(&doc))?,
            Reply::Event(doc) if is_json => writeln!(out, "{}", to_json(&doc))?,
            Reply::Log(doc) if is_json => writeln!(out, "{}", to_json(&doc))?,
            Reply::Why(doc) if is_json => writeln!(out, "{}", to_json(&doc))?,
            Reply::Env(doc) if is_json => writeln!(out, "{}", to_json(&doc))?,
            Reply::Status(doc) => show::status(out, look, &doc)?,
            Reply::Event(doc) => show::event(out, look, &doc)?,
            Reply::Log(doc) => {
                let seen = doc.unit.chars().count().min(PREFIX_MAX);
                prefix = prefix.map(|width| width.max(seen));
                show::log(out, look, prefix, &doc)?;
            }
            Reply::Why(doc) => show::why(out, look, &doc)?,
            Reply::Env(doc) => show::env(out, &doc)?,
            Reply::Plan(_)
            | Reply::Progress(_)
            | Reply::Done(_)
            | Reply::Error(_)
            | Reply::Unknown => {}
        }
    }
    screen.out.flush()?;
    running
}

/// Asks all about one unit, and shows it.
pub fn unit(
    connection: &mut Connection,
    name: &str,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let mut found = None;
    let request = Request::Status { unit: Some(name.to_owned()) };
    connection.ask(&request)?;
    while let Some(reply) = next(connection, &request, screen.out)? {
        if let Reply::Status(doc) = reply {
            check_version(&doc)?;
            found = doc.units.into_iter().next();
        }
    }
    let Some(unit) = found else {
        return Err(Failure::Failed(format!("the supervisor told nothing about {name}")));
    };
    let units = || vec![name.to_owned()];
    let mut events: Vec<EventDoc> = Vec::new();
    let request = Request::Events { units: units(), n: Some(STATUS_EVENTS), follow: false };
    connection.ask(&request)?;
    while let Some(reply) = next(connection, &request, screen.out)? {
        if let Reply::Event(doc) = reply {
            events.push(doc);
        }
    }
    let mut lines: Vec<LogDoc> = Vec::new();
    let request = Request::Logs { units: units(), n: Some(STATUS_LINES), follow: false };
    connection.ask(&request)?;
    while let Some(reply) = next(connection, &request, screen.out)? {
        if let Reply::Log(doc) = reply {
            lines.push(doc);
        }
    }
    show::unit(screen.out, screen.look, &unit, &events, &lines)?;
    screen.out.flush()?;
    is_running(&unit)
}

/// The next line of an answer; `None` is its end. What is shown so far is shown before waiting.
fn next(
    connection: &mut Connection,
    request: &Request,
    out: &mut dyn Write,
) -> Result<Option<Reply>, Failure> {
    let reply = match connection.buffered()? {
        Some(reply) => reply,
        None => {
            out.flush()?;
            match connection.wait(None)? {
                Next::Reply(reply) => reply,
                // Who follows has got what there was; nobody hangs.
                Next::Late if job::is_waiting(request) => {
                    let message = "the time that --timeout gave is over";
                    return Err(Failure::TimedOut(message.to_owned()));
                }
                Next::Tick | Next::Late | Next::Interrupted => return Err(connection.late()),
            }
        }
    };
    match reply {
        Reply::Done(Done { code, message }) => Failure::of(code, &message).map_or(Ok(None), Err),
        Reply::Error(error) => Err(error.into()),
        reply => Ok(Some(reply)),
    }
}

fn is_running(unit: &UnitDoc) -> Result<(), Failure> {
    match unit.state.as_str() {
        "down" | "failed" => Err(Failure::NotRunning),
        _ => Ok(()),
    }
}

fn check_version(doc: &StatusDoc) -> Result<(), Failure> {
    match doc.version {
        VERSION => Ok(()),
        other => Err(Failure::Failed(format!(
            "the supervisor (pisup {}) speaks version {other} of the protocol, this client version \
             {VERSION}: use a client of the supervisor's version",
            doc.supervisor.release
        ))),
    }
}
