//! One question over a socket, asked without ever waiting: connect, perhaps GET, an answer.
//!
//! A probe owns its socket, is driven by epoll and ends with `Ok` or with a sentence. When to ask
//! again, and what an answer means, is not known here.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::machine::Tick;
use crate::sys::poll::{Interest, Poll};
use crate::sys::socket::{self, Connection};
use crate::sys::stream::{self, Got};
use crate::sys::{Errno, reason};
use crate::wire::http::{self, Endpoint, Url};
use crate::wire::reply::{Progress, Reply};

/// Longest body that is looked through for `expect`, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// Bytes read at one go, and how often in one turn: a server that never stops must not either.
const READ_BYTES: usize = 8 * 1024;
const READS_MAX: usize = 8;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    endpoint: Endpoint,
    /// What to GET once connected, and what its body must contain.
    get: Option<(Url, Option<String>)>,
    /// The question for people.
    text: String,
}

impl Question {
    /// GET answers 2xx, and the body contains what is expected.
    ///
    /// # Errors
    ///
    /// The address makes no sense.
    pub fn http(url: &str, expect: Option<String>) -> Result<Self, String> {
        let parsed: Url = url.parse().map_err(|error: http::BadUrl| error.to_string())?;
        let text = format!("GET {url}");
        Ok(Self { endpoint: parsed.endpoint.clone(), get: Some((parsed, expect)), text })
    }

    /// A connection to `ADDR:PORT` is taken.
    ///
    /// # Errors
    ///
    /// The address makes no sense.
    pub fn tcp(address: &str) -> Result<Self, String> {
        let parsed = http::address(address)
            .ok_or_else(|| format!("{address:?} is not ADDR:PORT; no name is resolved"))?;
        Ok(Self { endpoint: Endpoint::Tcp(parsed), get: None, text: format!("tcp {address}") })
    }

    /// A connection to a unix socket is taken.
    #[must_use]
    pub fn unix(path: &str) -> Self {
        let endpoint = Endpoint::Unix(PathBuf::from(path));
        Self { endpoint, get: None, text: format!("unix {path}") }
    }
}

/// A question that was asked.
#[derive(Debug)]
pub struct Probe {
    question: Question,
    socket: OwnedFd,
    token: u64,
    deadline: Tick,
    /// What is still to be sent.
    request: Vec<u8>,
    is_connected: bool,
    reply: Reply,
}

impl Probe {
    /// Asks; the answer comes from [`Probe::go_on`] when epoll tells of `token`.
    ///
    /// # Errors
    ///
    /// The answer, if it is there at once and a bad one.
    pub fn ask(
        question: &Question,
        poll: &Poll,
        token: u64,
        deadline: Tick,
    ) -> Result<Self, String> {
        let connection = match &question.endpoint {
            Endpoint::Tcp(address) => socket::connect_tcp(*address),
            Endpoint::Unix(path) => socket::connect_unix(Path::new(path)),
        };
        let refused = |errno| format!("{}: {}", question.text, reason(errno));
        let (Connection::Open(socket) | Connection::Pending(socket)) =
            connection.map_err(refused)?;
        poll.add(socket.as_fd(), token, Interest::Write).map_err(|fault| fault.to_string())?;
        Ok(Self {
            request: question.get.as_ref().map(|(url, _)| url.get()).unwrap_or_default(),
            question: question.clone(),
            socket,
            token,
            deadline,
            is_connected: false,
            reply: Reply::new(BODY_MAX),
        })
    }

    /// When the answer is too late.
    #[must_use]
    pub const fn deadline(&self) -> Tick {
        self.deadline
    }

    /// The answer of one that gave none.
    #[must_use]
    pub fn too_late(&self) -> String {
        let what = if self.is_connected { "no answer in time" } else { "no connection in time" };
        format!("{}: {what}", self.question.text)
    }

    /// Lets go of the socket.
    pub fn close(self, poll: &Poll) {
        poll.remove(self.socket.as_fd());
    }

    /// Goes on as far as the socket lets it; the answer, once there is one.
    pub fn go_on(&mut self, poll: &Poll) -> Option<Result<(), String>> {
        match self.step(poll) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(why) => Some(Err(format!("{}: {why}", self.question.text))),
        }
    }

    fn step(&mut self, poll: &Poll) -> Result<bool, String> {
        let broken = |errno: Errno| reason(errno);
        if !self.is_connected {
            socket::connect_result(self.socket.as_fd()).map_err(broken)?;
            self.is_connected = true;
        }
        if self.question.get.is_none() {
            return Ok(true);
        }
        if !self.request.is_empty() {
            let count = stream::send(&self.socket, &self.request).map_err(broken)?;
            self.request.drain(..count);
            if !self.request.is_empty() {
                return Ok(false);
            }
            poll.modify(self.socket.as_fd(), self.token, Interest::Read)
                .map_err(|fault| fault.to_string())?;
        }
        let mut bytes = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            let is_whole = match stream::read(&self.socket, &mut bytes).map_err(broken)? {
                Got::Later => return Ok(false),
                Got::End => self.reply.end().map(|()| true),
                Got::Bytes(count) => self
                    .reply
                    .feed(bytes.get(..count).unwrap_or_default())
                    .map(|progress| progress == Progress::Done),
            };
            if is_whole.map_err(|bad| bad.to_string())? {
                return self.judge().map(|()| true);
            }
        }
        Ok(false)
    }

    fn judge(&self) -> Result<(), String> {
        if !self.reply.is_success() {
            return Err(format!("answered {}", self.reply.status().unwrap_or_default()));
        }
        let expect = self.question.get.as_ref().and_then(|(_, expect)| expect.as_deref());
        let body = String::from_utf8_lossy(self.reply.body());
        match expect {
            Some(text) if !body.contains(text) => Err(format!("the body lacks {text:?}")),
            _ => Ok(()),
        }
    }
}
