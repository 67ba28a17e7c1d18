//! One request and its reply over a stream socket, with a deadline and an ear for signals.
//!
//! Blocks until something happens, for helpers alone; looks at nothing again and again. The
//! request is small enough for the socket's buffer, so only the reply is waited for.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::sys::poll::{Interest, Poll, Ready};
use crate::sys::signals::Signals;
use crate::sys::{errno, reason};
use crate::wire::http::Endpoint;
use crate::wire::reply::{Progress, Reply};

/// Bytes read at a time.
const PIECE: usize = 8 * 1024;

/// The number of the signals among the watched.
const SIGNALS: u64 = u64::MAX;

const HUP: u8 = 1;
const USR1: u8 = 10;
const USR2: u8 = 12;

/// How long a TCP server may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why an exchange came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody listens there.
    Down(String),
    /// The connection broke, or the reply is truncated or malformed.
    Broken(String),
    /// So many seconds were not enough.
    Late(u64),
    /// A signal asked this process to end.
    Asked,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(why) | Self::Broken(why) => f.write_str(why),
            Self::Late(seconds) => write!(f, "no answer within {seconds}s"),
            Self::Asked => f.write_str("asked to end"),
        }
    }
}

/// A request that was sent, and its reply as far as it is in.
#[derive(Debug)]
pub struct Exchange {
    socket: File,
    reply: Reply,
}

impl Exchange {
    /// Connects and sends the request. The reply's body may have `max_body` bytes, as far as they
    /// are not taken from it.
    pub fn start(endpoint: &Endpoint, request: &[u8], max_body: usize) -> Result<Self, Trouble> {
        let down = |error| Trouble::Down(why(&error));
        let broken = |error| Trouble::Broken(why(&error));
        let mut socket = File::from(connect(endpoint).map_err(down)?);
        socket.write_all(request).map_err(broken)?;
        Ok(Self { socket, reply: Reply::new(max_body) })
    }

    /// The reply as far as it is in.
    #[must_use]
    pub const fn reply(&self) -> &Reply {
        &self.reply
    }

    /// The body as far as it is in, and takes it away.
    pub fn take_body(&mut self) -> Vec<u8> {
        self.reply.take_body()
    }

    /// Takes what has come in; only to be called when something has.
    pub fn pump(&mut self) -> Result<Progress, Trouble> {
        let broken = |why: &dyn fmt::Display| Trouble::Broken(why.to_string());
        let mut piece = [0; PIECE];
        match self.socket.read(&mut piece) {
            Ok(0) => self.reply.end().map(|()| Progress::Done).map_err(|error| broken(&error)),
            Ok(count) => {
                let bytes = piece.get(..count).unwrap_or_default();
                self.reply.feed(bytes).map_err(|error| broken(&error))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Progress::More),
            Err(error) => Err(broken(&why(&error))),
        }
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connect(endpoint: &Endpoint) -> io::Result<OwnedFd> {
    match endpoint {
        Endpoint::Unix(path) => UnixStream::connect(path).map(OwnedFd::from),
        Endpoint::Tcp(address) => {
            TcpStream::connect_timeout(address, CONNECT_WITHIN).map(OwnedFd::from)
        }
    }
}

fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => reason(errno(error)),
        None => error.to_string(),
    }
}

/// Waits for several exchanges and for signals.
pub struct Waiter {
    poll: Poll,
    ready: Vec<Ready>,
    signals: Signals,
    /// Signals that were not told yet.
    heard: Vec<u8>,
    is_asked: bool,
    is_deaf: bool,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The descriptor of this number is readable: an exchange can be pumped.
    Fd(usize),
    /// TERM or INT has come; told once.
    Asked,
    /// HUP, USR1 or USR2 has come, which is for whom this process stands in.
    Signal(u8),
    /// The time is over.
    Late,
}

impl Waiter {
    /// From now on TERM and INT are heard here and end nothing by themselves.
    pub fn new() -> Result<Self, Trouble> {
        let poll = Poll::new().map_err(|fault| Trouble::Broken(fault.to_string()))?;
        let signals = Signals::install().map_err(|error| Trouble::Broken(why(&error)))?;
        let fault = poll.add(signals.as_fd(), SIGNALS, Interest::Read);
        fault.map_err(|fault| Trouble::Broken(fault.to_string()))?;
        let (ready, heard) = (Vec::new(), Vec::new());
        Ok(Self { poll, ready, signals, heard, is_asked: false, is_deaf: false })
    }

    /// Waits until one of the descriptors is readable, a signal comes, or `until`.
    pub fn wait(
        &mut self,
        fds: &[Option<BorrowedFd<'_>>],
        until: Option<Instant>,
    ) -> Result<Woken, Trouble> {
        let broken = |fault: crate::sys::Fault| Trouble::Broken(fault.to_string());
        let watched = || {
            let numbers = 0_u64..;
            numbers.zip(fds).filter_map(|(number, fd)| Some((number, (*fd)?)))
        };
        for (number, fd) in watched() {
            self.poll.add(fd, number, Interest::Read).map_err(broken)?;
        }
        let woken = self.next(until);
        for (_, fd) in watched() {
            self.poll.remove(fd);
        }
        woken
    }

    fn next(&mut self, until: Option<Instant>) -> Result<Woken, Trouble> {
        loop {
            if let Some(number) = self.heard.pop().filter(|_| !self.is_deaf) {
                return Ok(Woken::Signal(number));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            // Rounded up, so that the last millisecond is not spent in a loop.
            let left_ms =
                left.map(|left| u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
            self.poll
                .wait(left_ms, &mut self.ready)
                .map_err(|fault| Trouble::Broken(fault.to_string()))?;
            let arrived = self.signals.take();
            let others = [(arrived.hup, HUP), (arrived.usr1, USR1), (arrived.usr2, USR2)];
            self.heard.extend(others.into_iter().filter(|(came, _)| *came).map(|(_, n)| n));
            if arrived.term || arrived.int {
                self.is_asked = true;
                if !self.is_deaf {
                    return Ok(Woken::Asked);
                }
            }
            let fd = self.ready.iter().find(|ready| ready.token != SIGNALS);
            if let Some(number) = fd.and_then(|ready| usize::try_from(ready.token).ok()) {
                return Ok(Woken::Fd(number));
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Woken::Late);
            }
        }
    }

    /// Waits for the whole reply; `take` sees the body as it grows and may take it away.
    pub fn finish(
        &mut self,
        exchange: &mut Exchange,
        within: Option<Duration>,
        take: impl FnMut(&mut Exchange) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        // What is to be passed on waits until there is somebody to pass it on.
        let mut heard = Vec::new();
        let finished = self.finish_hearing(exchange, within, take, &mut heard);
        self.heard.append(&mut heard);
        finished
    }

    fn finish_hearing(
        &mut self,
        exchange: &mut Exchange,
        within: Option<Duration>,
        mut take: impl FnMut(&mut Exchange) -> Result<(), Trouble>,
        heard: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let until = within.map(|within| Instant::now() + within);
        if self.is_asked && !self.is_deaf {
            return Err(Trouble::Asked);
        }
        loop {
            match self.wait(&[Some(exchange.as_fd())], until)? {
                Woken::Fd(_) => {
                    let progress = exchange.pump()?;
                    take(exchange)?;
                    if progress == Progress::Done {
                        return Ok(());
                    }
                }
                Woken::Signal(number) if heard.contains(&number) => {}
                Woken::Signal(number) => heard.push(number),
                Woken::Asked => return Err(Trouble::Asked),
                Woken::Late => return Err(Trouble::Late(within.unwrap_or_default().as_secs())),
            }
        }
    }

    /// From now on signals interrupt nothing: what is left to do is tidying up.
    pub const fn deafen(&mut self) {
        self.is_deaf = true;
    }

    /// Whether TERM or INT has come.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        self.is_asked
    }
}
