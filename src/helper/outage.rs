//! An engine that goes away while its container runs on, as dockerd's containers do when it is
//! killed: the owner waits for the engine to come back, and goes on where it was.
//!
//! Meanwhile the kernel is asked what the engine can not tell: a pidfd says when the container's
//! first process has ended, and takes the signals that the engine would have sent.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::container::{Error, say};
use super::engine::{Engine, EngineError};
use super::exchange::{Exchange, Trouble, Woken};
use crate::sys::{child, files};
use crate::wire::container::ContainerArgs;

/// How long to wait before asking for the engine again: at first, and at the most.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(3);

/// Bytes of `/proc/PID/cgroup` that are looked at.
const CGROUP_BYTES_MAX: usize = 16 * 1024;

const TERM: u8 = 15;

/// The first process of a container, as the kernel knows it.
#[derive(Debug)]
pub struct Life {
    pid: u32,
    pidfd: OwnedFd,
}

impl Life {
    /// The process of that number, if it belongs to that container.
    ///
    /// An engine in another PID namespace speaks of other numbers, so the process has to be in a
    /// cgroup that is named after the container.
    #[must_use]
    pub fn of(pid: u32, id: &str) -> Option<Self> {
        let pidfd = child::pidfd(pid)?;
        let path = format!("/proc/{pid}/cgroup");
        let groups = files::read_bounded(path.as_ref(), CGROUP_BYTES_MAX).ok()?;
        let is_there = !id.is_empty() && groups.contains(id);
        is_there.then_some(Self { pid, pidfd })
    }

    fn signal(&self, number: u8) {
        // It may just have ended; then the pidfd says so.
        let _ = child::signal(Some(&self.pidfd), self.pid, number);
    }
}

/// What the end of an outage is.
pub(super) enum After {
    /// The engine is back and has the container: its output, and the reply that tells its end.
    Back(Option<Exchange>, Exchange),
    /// The container was asked to end, and has.
    Stopped,
}

/// Waits until the engine is back.
///
/// # Errors
///
/// The container has ended meanwhile, or the engine came back and has no such container.
pub(super) fn ride_out(
    engine: &mut Engine,
    args: &ContainerArgs,
    id: &str,
    life: &Life,
    why: &dyn fmt::Display,
) -> Result<After, Error> {
    say(&format!("{why}; the container runs on (pid {})", life.pid));
    if engine.waiter.is_asked() {
        return stop(engine, args, life);
    }
    let mut delay = FIRST_DELAY;
    loop {
        let until = Instant::now() + delay;
        delay = (delay * 2).min(LONGEST_DELAY);
        match engine.waiter.wait(&[Some(life.pidfd.as_fd())], Some(until)) {
            Ok(Woken::Fd(_)) => return Err(Error::EndedUnseen),
            Ok(Woken::Asked) => return stop(engine, args, life),
            Ok(Woken::Signal(number)) => life.signal(number),
            Ok(Woken::Late) => {}
            Err(trouble) => return Err(engine.trouble("waiting for the engine", trouble).into()),
        }
        match take_back(engine, id) {
            Ok(Some((output, end))) => {
                say("the engine is back");
                return Ok(After::Back(output, end));
            }
            Ok(None) => return Err(Error::Forgotten),
            Err(EngineError::Asked) => return stop(engine, args, life),
            // Not yet, or gone again.
            Err(_) => {}
        }
    }
}

/// The container's output and end, if the engine still has it.
fn take_back(
    engine: &mut Engine,
    id: &str,
) -> Result<Option<(Option<Exchange>, Exchange)>, EngineError> {
    let Some(seen) = engine.inspect(id)? else {
        return Ok(None);
    };
    // Of one that has ended the engine still tells the exit code.
    let end = engine.begin_wait(id)?;
    let output = if seen.is_running { engine.attach(id).ok() } else { None };
    Ok(Some((output, end)))
}

/// Ends the container without the engine.
fn stop(engine: &mut Engine, args: &ContainerArgs, life: &Life) -> Result<After, Error> {
    say("stopping the container without its engine");
    let signal = args.spec.stop_signal.as_ref().and_then(|number| number.parse().ok());
    life.signal(signal.unwrap_or(TERM));
    engine.waiter.deafen();
    let broken = |engine: &Engine, trouble: Trouble| engine.trouble("stopping", trouble);
    let until = args.stop_timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let ended = [Some(life.pidfd.as_fd())];
    if engine.waiter.wait(&ended, until).map_err(|trouble| broken(engine, trouble))? == Woken::Late
    {
        life.signal(child::KILL);
        engine.waiter.wait(&ended, None).map_err(|trouble| broken(engine, trouble))?;
    }
    Ok(After::Stopped)
}
