//! Jobs: says what is going to be done, shows how it goes, and waits for the end.
//!
//! It only watches. Whatever ends the waiting here, the job goes on in the supervisor.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::client::{Connection, Next};
use super::show::{self, Look};
use super::{Failure, Screen};
use crate::machine::cause;
use crate::wire::ctl::{Done, Progress, Reply, Request, to_json};

/// How often the time in the line of progress is brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// Has a job done, and shows it.
pub fn run(
    connection: &mut Connection,
    request: &Request,
    is_json: bool,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let heeded = (screen.interrupts)().and_then(|interrupts| connection.heed(interrupts));
    heeded.map_err(|error| Failure::Failed(format!("watching for ^C: {error}")))?;
    connection.ask(request)?;
    let mut live = Live::new(screen.look);
    let tick = (live.is_redrawn() && !is_json).then_some(TICK);
    let out = &mut *screen.out;
    loop {
        let next = match connection.buffered()? {
            Some(reply) => Next::Reply(reply),
            None => {
                out.flush()?;
                connection.wait(tick)?
            }
        };
        match next {
            Next::Reply(reply) if is_json => {
                json(out, request, &reply)?;
                if let Some(end) = end(reply) {
                    out.flush()?;
                    return end.map(drop);
                }
            }
            Next::Reply(Reply::Plan(plan)) => {
                live.clear(out)?;
                // A stop of what waits moves no process, and yet there is something to do.
                match plan.plan.is_empty() && !is_dry_run(request) {
                    true => show::changes(out, &plan)?,
                    false => show::plan(out, &plan)?,
                }
            }
            Next::Reply(Reply::Progress(progress)) => live.tell(out, progress)?,
            Next::Reply(reply) => {
                if let Some(end) = end(reply) {
                    live.clear(out)?;
                    let message = end?;
                    if !message.is_empty() {
                        writeln!(out, "{}", show::clean(&message))?;
                    }
                    return Ok(out.flush()?);
                }
            }
            Next::Tick => live.redraw(out)?,
            Next::Late => {
                live.clear(out)?;
                return Err(late(connection, request, &live));
            }
            Next::Interrupted => {
                live.clear(out)?;
                let job = job_name(request);
                return Err(Failure::Interrupted(format!("no longer waiting; {job} goes on")));
            }
        }
    }
}

/// A plan that was asked for is a document; everything else is told as it came.
fn json(out: &mut dyn Write, request: &Request, reply: &Reply) -> io::Result<()> {
    match (reply, is_dry_run(request)) {
        (Reply::Plan(plan), true) => writeln!(out, "{}", to_json(plan)),
        (_, true) => Ok(()),
        (_, false) => out.write_all(reply.to_line().as_bytes()),
    }
}

/// The end of the answer, if this is it: its sentence.
fn end(reply: Reply) -> Option<Result<String, Failure>> {
    match reply {
        Reply::Done(Done { code, message }) => Some(match Failure::of(code, &message) {
            None => Ok(message),
            Some(failure) => Err(failure),
        }),
        Reply::Error(error) => Some(Err(error.into())),
        _ => None,
    }
}

/// Whether the request changes something, or plans to.
pub const fn is_job(request: &Request) -> bool {
    !matches!(
        request,
        Request::Status { .. }
            | Request::Logs { .. }
            | Request::Events { .. }
            | Request::Why { .. }
            | Request::Env { .. }
    )
}

/// Whether only a plan is asked for.
pub const fn is_dry_run(request: &Request) -> bool {
    matches!(
        request,
        Request::Stop { dry_run: true, .. }
            | Request::Restart { dry_run: true, .. }
            | Request::ReloadConfig { dry_run: true, .. }
    )
}

fn late(connection: &Connection, request: &Request, live: &Live) -> Failure {
    let (true, Some(limit)) = (is_waiting(request), connection.limit()) else {
        return connection.late();
    };
    let job = job_name(request);
    let time = cause::duration(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let news = match &live.last {
        Some(progress) => format!("; last news: {}", sentence(progress)),
        None => String::new(),
    };
    Failure::TimedOut(format!("not done within {time}; {job} goes on{news}"))
}

/// Whether the request itself waits for something.
pub const fn is_waiting(request: &Request) -> bool {
    match request {
        Request::Start { no_wait, .. }
        | Request::Reload { no_wait, .. }
        | Request::Shutdown { no_wait }
        | Request::Poweroff { no_wait }
        | Request::Reboot { no_wait } => !*no_wait,
        Request::Upgrade { .. } => true,
        Request::Stop { no_wait, dry_run, .. }
        | Request::Restart { no_wait, dry_run, .. }
        | Request::ReloadConfig { no_wait, dry_run } => !*no_wait && !*dry_run,
        Request::Logs { follow, .. } | Request::Events { follow, .. } => *follow,
        Request::Status { .. }
        | Request::Why { .. }
        | Request::Env { .. }
        | Request::Kill { .. } => false,
    }
}

fn job_name(request: &Request) -> String {
    let (job, units) = match request {
        Request::Start { units, .. } => ("the start of", units),
        Request::Stop { units, .. } => ("the stop of", units),
        Request::Restart { units, .. } => ("the restart of", units),
        Request::Reload { units, .. } => ("the reload of", units),
        Request::ReloadConfig { .. } => return "the reload of the configuration".to_owned(),
        Request::Upgrade { .. } => return "the upgrade".to_owned(),
        Request::Shutdown { .. } => return "the shutdown".to_owned(),
        Request::Poweroff { .. } | Request::Reboot { .. } => {
            return "the end of the machine".to_owned();
        }
        _ => return "the job".to_owned(),
    };
    format!("{job} {}", units.join(", "))
}

fn sentence(progress: &Progress) -> String {
    let Progress { unit, state, sentence } = progress;
    match sentence.is_empty() || sentence == state {
        true => format!("{unit} is {state}"),
        false => format!("{unit} is {state}: {sentence}"),
    }
}

/// The news of a job: on a terminal one line that is drawn again and again, else a line each.
struct Live {
    look: Look,
    started: Instant,
    last: Option<Progress>,
    is_drawn: bool,
}

impl Live {
    fn new(look: Look) -> Self {
        Self { look, started: Instant::now(), last: None, is_drawn: false }
    }

    const fn is_redrawn(&self) -> bool {
        self.look.is_terminal
    }

    fn tell(&mut self, out: &mut dyn Write, progress: Progress) -> io::Result<()> {
        if !self.is_redrawn() {
            writeln!(out, "{}", show::clean(&sentence(&progress)))?;
        }
        self.last = Some(progress);
        self.redraw(out)
    }

    fn redraw(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let (true, Some(progress)) = (self.is_redrawn(), &self.last) else {
            return Ok(());
        };
        let seconds = self.started.elapsed().as_secs();
        let line = show::clean(&format!("[{seconds}s] {}", sentence(progress)));
        // The last column stays free: some terminals go to the next line when it is written.
        let columns = self.look.columns.unwrap_or(80).saturating_sub(1);
        write!(out, "\r\x1b[2K{}", show::clip(&line, columns))?;
        self.is_drawn = true;
        out.flush()
    }

    fn clear(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::take(&mut self.is_drawn) {
            write!(out, "\r\x1b[2K")?;
            out.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(state: &str, sentence: &str) -> Progress {
        let (state, sentence) = (state.to_owned(), sentence.to_owned());
        Progress { unit: "web".to_owned(), state, sentence }
    }

    #[test]
    fn on_a_terminal_one_line_is_drawn_again_and_again() {
        let look = Look { is_terminal: true, columns: Some(30), ..Look::default() };
        let (mut out, mut live) = (Vec::new(), Live::new(look));
        live.redraw(&mut out).unwrap();
        live.clear(&mut out).unwrap();
        assert_eq!(out, b"", "nothing is known, so nothing is drawn");
        live.tell(&mut out, news("starting", "\x1b[2J and a long story")).unwrap();
        live.tell(&mut out, news("ready", "ready")).unwrap();
        live.clear(&mut out).unwrap();
        live.clear(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\r\x1b[2K[0s] web is starting: \u{fffd}[2J a…\r\x1b[2K[0s] web is ready\r\x1b[2K"
        );
    }

    #[test]
    fn elsewhere_every_change_is_a_line() {
        let (mut out, mut live) = (Vec::new(), Live::new(Look::default()));
        live.tell(&mut out, news("stopping", "stopped by name")).unwrap();
        live.redraw(&mut out).unwrap();
        live.tell(&mut out, news("down", "")).unwrap();
        live.clear(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "web is stopping: stopped by name\nweb is down\n");
    }

    #[test]
    fn only_what_may_take_its_time_waits() {
        let start = |no_wait| Request::Start { units: vec![], no_wait };
        let stop = |no_wait, dry_run| Request::Stop { units: vec![], no_wait, dry_run };
        for (request, waits) in [
            (start(false), true),
            (start(true), false),
            (stop(false, false), true),
            (stop(false, true), false),
            (stop(true, false), false),
            (Request::Logs { units: vec![], n: None, follow: true }, true),
            (Request::Logs { units: vec![], n: None, follow: false }, false),
            (Request::Kill { unit: String::new(), signal: "1".to_owned() }, false),
        ] {
            assert_eq!(is_waiting(&request), waits, "{request:?}");
        }
    }
}
