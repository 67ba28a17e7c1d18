//! What a container engine is asked to do, one request to a connection.
//!
//! Every refusal is passed on in the engine's own words. No request is sent twice: whether to try
//! again is the supervisor's to decide, since it knows for how long.

use std::fmt;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::exchange::{Exchange, Trouble, Waiter, Woken};
use crate::wire::container::Spec;
use crate::wire::engine::{self as api, Seen, Step};
use crate::wire::http::{Content, Endpoint, request};

/// How long the engine may take for anything but pulling and waiting. Making a container takes
/// 0.3 s on a PC and was seen to take 20 s on an emulated Pi with a slow card.
const WITHIN: Duration = Duration::from_secs(120);

/// Longest document that is read, in bytes; an inspection has some 10 KB.
const MAX_DOCUMENT: usize = 512 * 1024;

/// Longest line of a pull, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// Why the engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// Nobody listens on its socket.
    Down(String, String),
    /// Its API is older than what is spoken here.
    TooOld(String),
    /// It says no: what was asked, what it says, and its HTTP status.
    Refused(String, String, u16),
    /// It gave no usable answer: what was asked, and what came.
    Nonsense(String, String),
    /// TERM or INT came meanwhile.
    Asked,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(socket, why) => {
                write!(f, "the engine does not answer on {socket}: {why}; is its unit running?")
            }
            Self::TooOld(version) => {
                let (major, minor) = api::OLDEST;
                write!(f, "the engine speaks API {version}; {major}.{minor} or later is needed")
            }
            Self::Refused(doing, why, status) => {
                write!(f, "{doing}: the engine says: {why} (HTTP {status})")
            }
            Self::Nonsense(doing, why) => write!(f, "{doing}: {why}"),
            Self::Asked => f.write_str("asked to end before the container ran"),
        }
    }
}

/// An engine that answers.
pub struct Engine {
    socket: String,
    version: String,
    /// What signals and replies are waited for with.
    pub waiter: Waiter,
}

impl Engine {
    /// Asks the engine what it speaks.
    pub fn connect(socket: &str) -> Result<Self, EngineError> {
        let doing = "connecting to the engine";
        let waiter = Waiter::new().map_err(|trouble| nonsense(doing, trouble))?;
        let mut engine = Self { socket: socket.to_owned(), version: String::new(), waiter };
        let (status, document) = engine.call(doing, "GET", "/version", None)?;
        if status != 200 {
            return Err(refused(doing, status, &document));
        }
        engine.version = match api::version(&document) {
            Ok(version) => format!("/{version}"),
            Err(Some(version)) => return Err(EngineError::TooOld(version)),
            Err(None) => return Err(nonsense(doing, "it does not say which API it speaks")),
        };
        Ok(engine)
    }

    /// The container of that name.
    pub fn inspect(&mut self, name: &str) -> Result<Option<Seen>, EngineError> {
        let doing = format!("looking for container {name}");
        match self.call(&doing, "GET", &api::inspect_path(name), None)? {
            (200, document) => api::seen(&document).map(Some).map_err(|why| nonsense(&doing, why)),
            (404, _) => Ok(None),
            (status, document) => Err(refused(&doing, status, &document)),
        }
    }

    /// Whether there is an image of that name.
    pub fn has_image(&mut self, image: &str) -> Result<bool, EngineError> {
        let doing = format!("looking for image {image}");
        match self.call(&doing, "GET", &api::image_path(image), None)? {
            (200, _) => Ok(true),
            (404, _) => Ok(false),
            (status, document) => Err(refused(&doing, status, &document)),
        }
    }

    /// Fetches an image; `tell` hears of every step.
    pub fn pull(
        &mut self,
        image: &str,
        within: Option<Duration>,
        mut tell: impl FnMut(&Step),
    ) -> Result<(), EngineError> {
        let doing = format!("pulling {image}");
        let mut exchange = self.send(&doing, "POST", &api::pull_path(image), None, MAX_LINE)?;
        let mut line = Vec::new();
        let mut outcome = Ok(());
        let end = self.waiter.finish(&mut exchange, within, |exchange| {
            if !exchange.reply().is_success() {
                return Ok(());
            }
            for byte in exchange.take_body() {
                if byte != b'\n' {
                    line.push(byte);
                } else if !line.trim_ascii().is_empty() {
                    match api::step(&line) {
                        Ok(step) => tell(&step),
                        Err(why) => outcome = Err(why),
                    }
                    line.clear();
                }
            }
            if line.len() > MAX_LINE {
                return Err(Trouble::Broken(format!("a line of over {MAX_LINE} bytes")));
            }
            Ok(())
        });
        end.map_err(|trouble| self.trouble(&doing, trouble))?;
        let status = exchange.reply().status().unwrap_or(0);
        if !exchange.reply().is_success() {
            return Err(refused(&doing, status, exchange.reply().body()));
        }
        if outcome.is_ok() && !line.trim_ascii().is_empty() {
            outcome = api::step(&line).map(|step| tell(&step));
        }
        outcome.map_err(|why| EngineError::Refused(doing, why, status))
    }

    /// Makes a container; its id.
    pub fn create(&mut self, spec: &Spec) -> Result<String, EngineError> {
        let doing = format!("creating container {}", spec.name);
        let path = format!("/containers/create?name={}", crate::wire::http::escape(&spec.name));
        match self.call(&doing, "POST", &path, Some(&api::create(spec)))? {
            (201, document) => api::created(&document).map_err(|why| nonsense(&doing, why)),
            (status, document) => Err(refused(&doing, status, &document)),
        }
    }

    /// Starts a container.
    pub fn start(&mut self, id: &str) -> Result<(), EngineError> {
        self.order("starting the container", "POST", &format!("/containers/{id}/start"))
    }

    /// Asks a container to end, kills it after so many milliseconds, and waits for that.
    pub fn stop(&mut self, id: &str, timeout_ms: Option<u64>) -> Result<(), EngineError> {
        let mut exchange = self.begin_stop(id, timeout_ms)?;
        let doing = "stopping the container";
        let within = timeout_ms.map(|ms| WITHIN.saturating_add(Duration::from_millis(ms)));
        let end = self.waiter.finish(&mut exchange, within, |_| Ok(()));
        end.map_err(|trouble| self.trouble(doing, trouble))?;
        Self::is_stopped(&exchange)
    }

    /// Asks a container to end; the reply comes when it has.
    pub fn begin_stop(
        &mut self,
        id: &str,
        timeout_ms: Option<u64>,
    ) -> Result<Exchange, EngineError> {
        // The engine counts in seconds, 0 is to kill at once, and -1 never to.
        let seconds = timeout_ms.map(|ms| (ms / 1000).max(1).to_string());
        let path = format!("/containers/{id}/stop?t={}", seconds.as_deref().unwrap_or("-1"));
        self.send("stopping the container", "POST", &path, None, MAX_DOCUMENT)
    }

    /// What the reply to a stop means.
    pub fn is_stopped(exchange: &Exchange) -> Result<(), EngineError> {
        match exchange.reply().status().unwrap_or(0) {
            // 304: it had ended by itself.
            200..=299 | 304 => Ok(()),
            status => Err(refused("stopping the container", status, exchange.reply().body())),
        }
    }

    /// Sends a signal to the container's first process.
    pub fn kill(&mut self, id: &str, signal: u8) -> Result<(), EngineError> {
        let path = format!("/containers/{id}/kill?signal={signal}");
        self.order("passing a signal on", "POST", &path)
    }

    /// Removes a container, dead or alive, and the volumes that nobody can name.
    pub fn remove(&mut self, id: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{id}?force=1&v=1");
        self.order("removing the old container", "DELETE", &path)
    }

    /// Follows the output of a container; returns when the engine has begun to send it.
    pub fn attach(&mut self, id: &str) -> Result<Exchange, EngineError> {
        let doing = "following the container's output";
        let path = format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1");
        let mut exchange = self.send(doing, "POST", &path, None, MAX_LINE)?;
        let until = Instant::now() + WITHIN;
        while exchange.reply().status().is_none() {
            let woken = self.waiter.wait(&[Some(exchange.as_fd())], Some(until));
            let trouble = match woken.map_err(|trouble| nonsense(doing, trouble))? {
                Woken::Fd(_) => exchange.pump().err(),
                Woken::Asked => Some(Trouble::Asked),
                Woken::Signal(_) => None,
                Woken::Late => Some(Trouble::Late(WITHIN.as_secs())),
            };
            if let Some(trouble) = trouble {
                return Err(self.trouble(doing, trouble));
            }
        }
        if exchange.reply().is_success() {
            return Ok(exchange);
        }
        let end = self.waiter.finish(&mut exchange, Some(WITHIN), |_| Ok(()));
        end.map_err(|trouble| self.trouble(doing, trouble))?;
        let status = exchange.reply().status().unwrap_or(0);
        Err(refused(doing, status, exchange.reply().body()))
    }

    /// Asks to be told when a container has ended.
    pub fn begin_wait(&mut self, id: &str) -> Result<Exchange, EngineError> {
        let path = format!("/containers/{id}/wait");
        self.send("waiting for the container", "POST", &path, None, MAX_DOCUMENT)
    }

    /// The exit code in the reply to a wait.
    pub fn exit_code(exchange: &Exchange) -> Result<u8, EngineError> {
        let doing = "waiting for the container";
        match exchange.reply().status().unwrap_or(0) {
            200 => api::waited(exchange.reply().body()).map_err(|why| nonsense(doing, why)),
            status => Err(refused(doing, status, exchange.reply().body())),
        }
    }

    fn order(&mut self, doing: &str, method: &str, path: &str) -> Result<(), EngineError> {
        match self.call(doing, method, path, None)? {
            // 304: it was so already.
            (200..=299 | 304, _) => Ok(()),
            (status, document) => Err(refused(doing, status, &document)),
        }
    }

    fn call(
        &mut self,
        doing: &str,
        method: &str,
        path: &str,
        document: Option<&[u8]>,
    ) -> Result<(u16, Vec<u8>), EngineError> {
        let mut exchange = self.send(doing, method, path, document, MAX_DOCUMENT)?;
        let end = self.waiter.finish(&mut exchange, Some(WITHIN), |_| Ok(()));
        end.map_err(|trouble| self.trouble(doing, trouble))?;
        Ok((exchange.reply().status().unwrap_or(0), exchange.take_body()))
    }

    fn send(
        &self,
        doing: &str,
        method: &str,
        path: &str,
        document: Option<&[u8]>,
        max_body: usize,
    ) -> Result<Exchange, EngineError> {
        let path = format!("{}{path}", self.version);
        let content = document.map(|bytes| Content { kind: "application/json", bytes });
        let request = request(method, "engine", &path, content);
        let endpoint = Endpoint::Unix(self.socket.as_str().into());
        Exchange::start(&endpoint, &request, max_body)
            .map_err(|trouble| self.trouble(doing, trouble))
    }

    /// The sentence for an exchange that came to nothing.
    #[must_use]
    pub fn trouble(&self, doing: &str, trouble: Trouble) -> EngineError {
        match trouble {
            Trouble::Down(why) => EngineError::Down(self.socket.clone(), why),
            Trouble::Asked => EngineError::Asked,
            other => nonsense(doing, other),
        }
    }
}

fn nonsense(doing: &str, why: impl fmt::Display) -> EngineError {
    EngineError::Nonsense(doing.to_owned(), why.to_string())
}

fn refused(doing: &str, status: u16, document: &[u8]) -> EngineError {
    EngineError::Refused(doing.to_owned(), api::refusal(document), status)
}
