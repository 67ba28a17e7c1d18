//! The connection to the supervisor, and how patient it is.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::Failure;
use crate::machine::cause;
use crate::wire::ctl::{FrameBuffer, QUERY_SOCKET_NAME, REQUEST_BYTES_MAX, Reply, Request};

/// Longest reply that is read: 256 units with 64 KiB of values each.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long an answer may take that waits for nothing. A busy Pi 2 with a slow card has been seen
/// to take seconds; who waits longer than this waits for a supervisor that hangs.
const USUAL_PATIENCE: Duration = Duration::from_secs(30);

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// As long as an answer takes that itself waits for nothing.
    Usual,
    /// The user said how long.
    Given(Duration),
    /// For ever.
    Endless,
}

/// What came next.
pub enum Next {
    /// A line of the answer.
    Reply(Reply),
    /// Nothing, for as long as the caller wanted to sit still.
    Tick,
    /// Nothing, and patience is over.
    Late,
    /// ^C.
    Interrupted,
}

/// A connection to the supervisor.
pub struct Connection {
    path: PathBuf,
    stream: UnixStream,
    frames: FrameBuffer,
    limit: Option<Duration>,
    deadline: Option<Instant>,
    is_interrupted: Arc<AtomicBool>,
}

impl Connection {
    /// Connects to the supervisor's socket.
    pub fn open(path: &Path, patience: Patience) -> Result<Self, Failure> {
        let limit = match patience {
            Patience::Usual => Some(USUAL_PATIENCE),
            Patience::Given(limit) => Some(limit),
            Patience::Endless => None,
        };
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let connected = connect(path, limit.unwrap_or(USUAL_PATIENCE).min(USUAL_PATIENCE));
        let stream = match connected {
            Some(connected) => connected.map_err(|error| no_supervisor(path, &error))?,
            None => return Err(late(path, limit)),
        };
        Ok(Self {
            path: path.to_owned(),
            stream,
            frames: FrameBuffer::new(REPLY_BYTES_MAX),
            limit,
            deadline,
            is_interrupted: Arc::default(),
        })
    }

    /// From now on a byte in this stream ends the waiting.
    pub fn heed(&self, mut interrupts: UnixStream) -> io::Result<()> {
        let stream = self.stream.try_clone()?;
        let is_interrupted = Arc::clone(&self.is_interrupted);
        thread::spawn(move || {
            if matches!(interrupts.read(&mut [0]), Ok(1)) {
                is_interrupted.store(true, Ordering::SeqCst);
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        });
        Ok(())
    }

    /// Sends a request.
    pub fn ask(&mut self, request: &Request) -> Result<(), Failure> {
        let line = request.to_line();
        if line.len() > REQUEST_BYTES_MAX {
            let most = REQUEST_BYTES_MAX;
            return Err(Failure::Usage(format!("too many names: a request has {most} bytes")));
        }
        let sent = self
            .stream
            .set_write_timeout(self.left().map(not_zero))
            .and_then(|()| self.stream.write_all(line.as_bytes()));
        match sent {
            Ok(()) => Ok(()),
            Err(error) if is_timeout(&error) => Err(self.late()),
            // A supervisor that has no room for a client says so and closes: that is still to be
            // read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(self.broken(&error.to_string())),
        }
    }

    /// The next line of the answer, if it is already here.
    pub fn buffered(&mut self) -> Result<Option<Reply>, Failure> {
        loop {
            let line = match self.frames.next_line() {
                None => return Ok(None),
                Some(Err(_)) => return Err(self.odd("the answer is too long")),
                Some(Ok(line)) => line,
            };
            match Reply::parse(&line) {
                Ok(Reply::Unknown) => {}
                Ok(reply) => return Ok(Some(reply)),
                Err(sentence) => return Err(self.odd(&sentence)),
            }
        }
    }

    /// Waits for the next line of the answer; with `tick`, no longer than that.
    pub fn wait(&mut self, tick: Option<Duration>) -> Result<Next, Failure> {
        let wake = tick.and_then(|tick| Instant::now().checked_add(tick));
        loop {
            if let Some(reply) = self.buffered()? {
                return Ok(Next::Reply(reply));
            }
            if self.left().is_some_and(|left| left.is_zero()) {
                return Ok(Next::Late);
            }
            let until_wake = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
            if until_wake.is_some_and(|left| left.is_zero()) {
                return Ok(Next::Tick);
            }
            let patience = match (self.left(), until_wake) {
                (Some(left), Some(until_wake)) => Some(left.min(until_wake)),
                (left, until_wake) => left.or(until_wake),
            };
            if !self.read(patience)? {
                return Ok(Next::Interrupted);
            }
        }
    }

    /// What to say when patience is over.
    pub fn late(&self) -> Failure {
        late(&self.path, self.limit)
    }

    /// How patient this connection is.
    pub const fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Takes what comes within a time; false is ^C.
    fn read(&mut self, patience: Option<Duration>) -> Result<bool, Failure> {
        let mut bytes = [0; 8192];
        let got = self
            .stream
            .set_read_timeout(patience.map(not_zero))
            .and_then(|()| self.stream.read(&mut bytes));
        match got {
            _ if self.is_interrupted.load(Ordering::SeqCst) => return Ok(false),
            Ok(0) if self.frames.is_partial() => {
                return Err(self.broken("in the middle of a line"));
            }
            Ok(0) => return Err(self.broken("before the answer was complete")),
            Ok(count) => self.frames.feed(bytes.get(..count).unwrap_or_default()),
            Err(error) if is_timeout(&error) || error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(self.broken(&error.to_string())),
        }
        Ok(true)
    }

    fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn broken(&self, how: &str) -> Failure {
        Failure::Failed(format!(
            "the supervisor closed the connection {how}: it has ended, or was too busy; \
             `pisup ctl status` tells"
        ))
    }

    fn odd(&self, why: &str) -> Failure {
        Failure::Failed(format!(
            "the answer was not understood ({why}): is {} the socket of a pisup supervisor of \
             version {}?",
            self.path.display(),
            env!("CARGO_PKG_VERSION")
        ))
    }
}

/// Connects, in a thread of its own: a supervisor that hangs leaves its backlog full, and then
/// connecting takes for ever. `None` is too late.
fn connect(path: &Path, patience: Duration) -> Option<io::Result<UnixStream>> {
    let (sender, receiver) = mpsc::channel();
    let path = path.to_owned();
    thread::spawn(move || sender.send(connect_or_ask(&path)));
    receiver.recv_timeout(patience).ok()
}

/// By the door for those who may only ask, if that is the one that is open to us.
fn connect_or_ask(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).or_else(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            UnixStream::connect(path.with_file_name(QUERY_SOCKET_NAME)).map_err(|_| error)
        }
        _ => Err(error),
    })
}

fn no_supervisor(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::NoSupervisor(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "no supervisor: {path} does not exist; start one with `pisup supervise`, or name its \
             run directory with --run"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("no supervisor: nobody listens on {path}; start one with `pisup supervise`")
        }
        io::ErrorKind::PermissionDenied => format!(
            "no permission for {path}: use sudo, or become a member of the group that owns it"
        ),
        _ => format!("no supervisor: connecting to {path}: {error}"),
    })
}

fn late(path: &Path, limit: Option<Duration>) -> Failure {
    let ms = limit.unwrap_or(USUAL_PATIENCE).as_millis();
    let time = cause::duration(u64::try_from(ms).unwrap_or(u64::MAX));
    Failure::TimedOut(format!(
        "no answer within {time} from the supervisor behind {}: it hangs, or the machine is \
         overloaded; --timeout waits longer",
        path.display()
    ))
}

/// A socket takes no timeout of zero; what is over is over a millisecond later, too.
fn not_zero(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_connect_hears_what_to_do() {
        for (kind, part) in [
            (io::ErrorKind::NotFound, "start one with `pisup supervise`, or name"),
            (io::ErrorKind::ConnectionRefused, "nobody listens on /r/ctl.sock"),
            (io::ErrorKind::PermissionDenied, "use sudo, or become a member of the group"),
            (io::ErrorKind::InvalidInput, "connecting to /r/ctl.sock: "),
        ] {
            match no_supervisor(Path::new("/r/ctl.sock"), &kind.into()) {
                Failure::NoSupervisor(text) => assert!(text.contains(part), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
