//! `pisup container-run`: owns one container, as if the container were its child.
//!
//! It makes the container, hands on its output, turns TERM into a timed stop, and ends with the
//! container's own exit code. A container of its own that already runs with the same configuration
//! is taken over: that is how a container survives the death of its owner. One of somebody else is
//! never touched. When the engine goes away and the container does not, its owner waits.
//!
//! Exit codes are the container's (137 when it was killed, as the engine counts); 125 when there
//! is none, because the engine could not do it or does not answer; 143 when TERM came first. What
//! went wrong is one sentence on stderr.
//!
//! On `NOTIFY_SOCKET` it says `STATUS=` while an image is fetched, and `READY=1` and
//! `X_PISUP_CONTAINER_PID=` once the container runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::engine::{Engine, EngineError};
use super::exchange::{Exchange, Trouble, Woken};
use super::outage::{After, Life, ride_out};
use super::{Failure, texts};
use crate::sys::notifier::Notifier;
use crate::wire::container::{ContainerArgs, Pull};
use crate::wire::engine::{Seen, Step, fingerprint};
use crate::wire::frames::{Frames, NotFrames, Stream};
use crate::wire::reply::Progress;

/// There is no container whose code could be passed on.
const NO_CONTAINER: u8 = 125;
/// TERM came before the container ran.
const TERMINATED: u8 = 143;

/// How long output may still come when the container has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A pull without a timeout of its own asks for so much time at every step, microseconds.
const STEP_USEC: u64 = 600 * 1_000_000;

/// Most layers whose progress is remembered; images have a dozen.
const MAX_LAYERS: usize = 256;

/// Why there is no container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Error {
    Engine(EngineError),
    /// It ended while its engine was away, which could have told how.
    EndedUnseen,
    /// The engine was away, and came back without the container.
    Forgotten,
    /// The engine's socket, the name, and whose the container is.
    Taken(String, Box<Seen>),
    /// The engine's socket and the image.
    NoImage(String, String),
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::EndedUnseen => f.write_str("the container ended while its engine was away"),
            Self::Forgotten => f.write_str("the engine is back, but not the container"),
            Self::Taken(name, seen) => {
                let id = seen.id.get(..12).unwrap_or(&seen.id);
                write!(f, "the name {name} is taken by container {id} (image {}), ", seen.image)?;
                match &seen.unit {
                    Some(unit) => write!(f, "which belongs to unit {unit} of {}", seen.run)?,
                    None => f.write_str("which is not ours")?,
                }
                f.write_str(": remove or rename it, or give this unit another container name")
            }
            Self::NoImage(socket, image) => write!(
                f,
                "there is no image {image} and it is not to be pulled; get it with \
                 `docker -H unix://{socket} pull {image}`, or `docker import` from a file"
            ),
        }
    }
}

/// The entry point of the process; its exit code.
#[must_use]
pub fn main(args: Vec<OsString>) -> u8 {
    let told = texts(args).and_then(|args| {
        ContainerArgs::parse(args).map_err(|bad| Failure::Usage(format!("container-run: {bad}")))
    });
    match told {
        Ok(args) => run(&args),
        Err(Failure::Usage(why) | Failure::Failed(why)) => {
            say(&why);
            NO_CONTAINER
        }
    }
}

/// Owns the container until it ends; the exit code.
#[must_use]
pub fn run(args: &ContainerArgs) -> u8 {
    match Engine::connect(&args.engine).map_err(Error::Engine) {
        Ok(mut engine) => match own(&mut engine, args, &Notifier::from_env()) {
            Ok(code) => code,
            Err(error) => tell(&error),
        },
        Err(error) => tell(&error),
    }
}

fn tell(error: &Error) -> u8 {
    say(&error.to_string());
    match error {
        Error::Engine(EngineError::Asked) => TERMINATED,
        _ => NO_CONTAINER,
    }
}

/// Its own words, apart from the container's.
pub(super) fn say(sentence: &str) {
    let _ = writeln!(io::stderr(), "pisup: {sentence}");
}

fn own(engine: &mut Engine, args: &ContainerArgs, notify: &Notifier) -> Result<u8, Error> {
    let spec = &args.spec;
    if let Some(seen) = engine.inspect(&spec.name)? {
        if seen.unit.as_ref() != Some(&spec.unit) || seen.run != spec.run {
            return Err(Error::Taken(spec.name.clone(), Box::new(seen)));
        }
        let is_same = seen.config.as_deref() == Some(fingerprint(spec).as_str());
        if seen.is_running && is_same && !args.is_fresh {
            return take_over(engine, args, notify, &seen);
        }
        if seen.is_running {
            let why = if is_same { "a new one is wanted" } else { "it was made differently" };
            say(&format!("stopping the old container {}: {why}", spec.name));
            engine.stop(&seen.id, args.stop_timeout_ms)?;
        }
        engine.remove(&seen.id)?;
    }
    if args.pull == Pull::Always || !engine.has_image(&spec.image)? {
        if args.pull == Pull::Never {
            return Err(Error::NoImage(args.engine.clone(), spec.image.clone()));
        }
        pull(engine, args, notify)?;
    }
    let id = engine.create(spec)?;
    match begin(engine, &id) {
        Ok((output, end)) => {
            let pid = engine.inspect(&id).ok().flatten().map_or(0, |seen| seen.pid);
            notify.tell(&running(pid));
            follow(engine, notify, Held::new(args, &id, pid, Some(output), end))
        }
        Err(error) => {
            // It never ran, so nobody misses it.
            engine.waiter.deafen();
            let _ = engine.remove(&id);
            Err(error.into())
        }
    }
}

/// Output first, so that not even the first line is lost.
fn begin(engine: &mut Engine, id: &str) -> Result<(Exchange, Exchange), EngineError> {
    let output = engine.attach(id)?;
    engine.start(id)?;
    Ok((output, engine.begin_wait(id)?))
}

fn take_over(
    engine: &mut Engine,
    args: &ContainerArgs,
    notify: &Notifier,
    seen: &Seen,
) -> Result<u8, Error> {
    let name = &args.spec.name;
    say(&format!("took over container {name}, which runs already (pid {})", seen.pid));
    let end = engine.begin_wait(&seen.id)?;
    let output = match engine.attach(&seen.id) {
        Ok(output) => Some(output),
        Err(EngineError::Asked) => None,
        Err(error) => {
            say(&format!("{error}; its output is lost"));
            None
        }
    };
    notify.tell(&format!("X_PISUP_TAKEN_OVER=1\n{}", running(seen.pid)));
    follow(engine, notify, Held::new(args, &seen.id, seen.pid, output, end))
}

fn running(pid: u32) -> String {
    let pid = if pid == 0 { String::new() } else { format!("X_PISUP_CONTAINER_PID={pid}\n") };
    format!("{pid}READY=1\nSTATUS=\n")
}

/// A container that runs: its output, and the reply that tells its end.
struct Held<'a> {
    args: &'a ContainerArgs,
    id: &'a str,
    life: Option<Life>,
    output: Option<Exchange>,
    frames: Frames,
    end: Exchange,
}

/// Hands on the output until the container has ended, over the absences of its engine; its exit
/// code.
fn follow(engine: &mut Engine, notify: &Notifier, mut held: Held<'_>) -> Result<u8, Error> {
    while let Err(trouble) = held.until_end(engine) {
        let error = lost(engine, trouble);
        let Some(life) = &held.life else { return Err(error) };
        notify.tell("STATUS=its engine is away\n");
        match ride_out(engine, held.args, held.id, life, &error)? {
            After::Stopped => return Ok(TERMINATED),
            After::Back(output, end) => {
                (held.output, held.frames, held.end) = (output, Frames::default(), end);
            }
        }
        notify.tell("STATUS=\n");
    }
    engine.waiter.deafen();
    let until = Instant::now() + LAST_WORDS;
    while let Some(output) = &held.output {
        match engine.waiter.wait(&[Some(output.as_fd())], Some(until)) {
            Ok(Woken::Fd(_)) => hand_on(&mut held.output, &mut held.frames),
            _ => break,
        }
    }
    Ok(Engine::exit_code(&held.end)?)
}

impl<'a> Held<'a> {
    fn new(
        args: &'a ContainerArgs,
        id: &'a str,
        pid: u32,
        output: Option<Exchange>,
        end: Exchange,
    ) -> Self {
        Self { args, id, life: Life::of(pid, id), output, frames: Frames::default(), end }
    }

    /// Hands on the output until the engine says that the container has ended.
    fn until_end(&mut self, engine: &mut Engine) -> Result<(), Trouble> {
        let mut stop: Option<Exchange> = None;
        let mut is_asked = engine.waiter.is_asked();
        let mut is_told = false;
        // The first output may have come together with the head of the reply.
        pass_on(&mut self.output, &mut self.frames, &Ok(Progress::More));
        loop {
            if is_asked && !is_told {
                match engine.begin_stop(self.id, self.args.stop_timeout_ms) {
                    Ok(exchange) => (stop, is_told) = (Some(exchange), true),
                    Err(error) => say(&error.to_string()),
                }
            }
            is_asked = false;
            let exchanges = [self.output.as_ref(), Some(&self.end), stop.as_ref()];
            let fds = exchanges.map(|exchange| exchange.map(AsFd::as_fd));
            match engine.waiter.wait(&fds, None)? {
                Woken::Fd(0) => hand_on(&mut self.output, &mut self.frames),
                Woken::Fd(1) => {
                    if self.end.pump()? == Progress::Done {
                        return Ok(());
                    }
                }
                Woken::Fd(_) => is_told = is_told && !is_refused(engine, &mut stop),
                Woken::Asked => is_asked = true,
                Woken::Signal(number) => {
                    match engine.kill(self.id, number) {
                        Ok(()) | Err(EngineError::Asked) => {}
                        Err(error) => say(&error.to_string()),
                    }
                    is_asked = engine.waiter.is_asked();
                }
                Woken::Late => {}
            }
        }
    }
}

fn lost(engine: &Engine, trouble: Trouble) -> Error {
    Error::Engine(engine.trouble("waiting for the container", trouble))
}

/// Takes what has come in and passes it on.
fn hand_on(output: &mut Option<Exchange>, frames: &mut Frames) {
    if let Some(progress) = output.as_mut().map(Exchange::pump) {
        pass_on(output, frames, &progress);
    }
}

/// Passes on what is in; the output is gone when it has ended.
fn pass_on(
    output: &mut Option<Exchange>,
    frames: &mut Frames,
    progress: &Result<Progress, Trouble>,
) {
    let Some(exchange) = output else { return };
    // Who reads may be gone; the container runs on all the same.
    let fed = frames.feed(&exchange.take_body(), |stream, bytes| {
        let _ = match stream {
            Stream::Out => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Stream::Err => io::stderr().write_all(bytes),
        };
    });
    let complaint = match (progress, fed) {
        (Err(trouble), _) => Some(trouble.to_string()),
        (_, Err(NotFrames)) => Some("it is not in frames".to_owned()),
        (Ok(Progress::Done), _) if !frames.is_whole() => Some("it ends in a frame".to_owned()),
        _ => None,
    };
    if let Some(complaint) = &complaint {
        say(&format!("following the container's output: {complaint}; the rest is lost"));
    }
    if complaint.is_some() || *progress == Ok(Progress::Done) {
        *output = None;
    }
}

/// Takes the reply to a stop. A refusal is told, and the container's end waited for as before; the
/// next TERM is another try.
fn is_refused(engine: &Engine, stop: &mut Option<Exchange>) -> bool {
    let Some(exchange) = stop else { return false };
    let answer = match exchange.pump() {
        Ok(Progress::More) => return false,
        Ok(Progress::Done) => Engine::is_stopped(exchange),
        Err(trouble) => Err(engine.trouble("stopping the container", trouble)),
    };
    *stop = None;
    if let Err(error) = &answer {
        say(&error.to_string());
    }
    answer.is_err()
}

fn pull(engine: &mut Engine, args: &ContainerArgs, notify: &Notifier) -> Result<(), EngineError> {
    let image = &args.spec.image;
    let within = args.pull_timeout_ms.map(Duration::from_millis);
    let patience_usec = args.pull_timeout_ms.map_or(STEP_USEC, |ms| ms.saturating_mul(1000));
    say(&format!("pulling {image}"));
    let status = |text: &str| {
        notify
            .tell(&format!("EXTEND_TIMEOUT_USEC={patience_usec}\nSTATUS=pulling {image}{text}\n"));
    };
    status("");
    let mut layers = Layers::default();
    let mut told = Instant::now();
    engine.pull(image, within, |step| {
        if let Some(line) = layers.note(step) {
            say(&format!("pulling {image}: {line}"));
        }
        // Progress comes many times a second; people read once.
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            status(&layers.summary());
        }
    })?;
    say(&format!("pulled {image}"));
    Ok(())
}

/// The layers of a pull: what each is doing, and bytes done and in all.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, (String, u64, u64)>);

impl Layers {
    /// Remembers a step; the line to print when it is news.
    fn note(&mut self, step: &Step) -> Option<String> {
        if step.layer.is_empty() {
            return Some(step.status.clone());
        }
        if self.0.len() >= MAX_LAYERS && !self.0.contains_key(&step.layer) {
            return None;
        }
        let entry = self.0.entry(step.layer.clone()).or_default();
        if let Some((done, all)) = step.bytes.filter(|_| step.status == "Downloading") {
            (entry.1, entry.2) = (done, all);
        }
        let is_news = entry.0 != step.status;
        entry.0.clone_from(&step.status);
        is_news.then(|| format!("{}: {}", step.layer, step.status))
    }

    fn summary(&self) -> String {
        let sum = |part: fn(&(String, u64, u64)) -> u64| {
            self.0.values().map(part).fold(0, u64::saturating_add) / 1_000_000
        };
        match (sum(|layer| layer.1), sum(|layer| layer.2)) {
            (_, 0) => String::new(),
            (done, all) => format!(": {done} of {all} MB"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_tells_news_once() {
        let mut layers = Layers::default();
        let mut note = |layer: &str, status: &str, bytes| {
            layers.note(&Step { layer: layer.into(), status: status.into(), bytes })
        };
        assert_eq!(note("", "Pulling from etcd", None).unwrap(), "Pulling from etcd");
        let downloading = "Downloading";
        assert_eq!(note("a", downloading, Some((1_000_000, 9_000_000))).unwrap(), "a: Downloading");
        assert_eq!(note("a", downloading, Some((4_000_000, 9_000_000))), None);
        assert!(note("b", downloading, Some((1_000_000, 3_000_000))).is_some());
        assert!(note("a", "Extracting", Some((1, 2))).is_some());
        assert_eq!(layers.summary(), ": 5 of 12 MB");
        for number in 0..2 * MAX_LAYERS {
            layers.note(&Step { layer: number.to_string(), ..Step::default() });
        }
        assert_eq!(layers.0.len(), MAX_LAYERS);
    }

    #[test]
    fn whose_a_taken_name_is() {
        let seen = Seen {
            id: "0123456789abcdef".into(),
            is_running: true,
            pid: 7,
            image: "x:1".into(),
            unit: None,
            run: String::new(),
            config: None,
        };
        let error = Error::Taken("pisup-etcd".into(), Box::new(seen));
        assert_eq!(
            error.to_string(),
            "the name pisup-etcd is taken by container 0123456789ab (image x:1), which is not \
             ours: remove or rename it, or give this unit another container name"
        );
    }
}
