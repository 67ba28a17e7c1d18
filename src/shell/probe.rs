//! One question over a socket, asked without ever waiting: connect, perhaps GET, an answer.
//!
//! A probe owns its socket, is driven by epoll and ends with `Ok` or with a sentence. When to ask
//! again, and what an answer means, is not known here. A question that takes a process is none of
//! these: whoever starts processes asks it.

use std::path::PathBuf;

use crate::machine::Tick;
use crate::machine::cause::duration;
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::poll::{Interest, Poll};
use crate::sys::socket::{self, Connection};
use crate::sys::stream::{self, Got};
use crate::sys::{Errno, reason};
use crate::wire::http::{self, BadUrl, Endpoint, Url};
use crate::wire::reply::{Progress, Reply};

/// Longest body that is looked through for `expect`, in bytes; a health page has a few hundred.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Bytes of one read, and reads of one call: a server that never stops must not stop us.
const READ_BYTES: usize = 8 * 1024;
const MAX_READS: usize = 8;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    endpoint: Endpoint,
    get: Option<Get>,
    /// The question for people.
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Get {
    request: Vec<u8>,
    /// What the body must contain.
    expect: Option<String>,
}

impl Question {
    /// GET answers 2xx, and the body contains what is expected. `Err` says what is wrong with the
    /// address.
    pub fn http(url: &str, expect: Option<String>) -> Result<Self, String> {
        let parsed: Url = url.parse().map_err(|error: BadUrl| error.to_string())?;
        let get = Get { request: parsed.get(), expect };
        Ok(Self { endpoint: parsed.endpoint, get: Some(get), text: format!("GET {url}") })
    }

    /// `ADDR:PORT` takes a connection. `Err` says what is wrong with the address.
    pub fn tcp(address: &str) -> Result<Self, String> {
        let parsed = http::address(address)
            .ok_or_else(|| format!("{address:?} is not ADDR:PORT; no name is resolved"))?;
        let text = format!("connecting to {address}");
        Ok(Self { endpoint: Endpoint::Tcp(parsed), get: None, text })
    }

    /// A unix socket takes a connection.
    #[must_use]
    pub fn unix(path: &str) -> Self {
        let endpoint = Endpoint::Unix(PathBuf::from(path));
        Self { endpoint, get: None, text: format!("connecting to {path}") }
    }
}

/// A question that was asked.
#[derive(Debug)]
pub struct Probe {
    question: Question,
    socket: OwnedFd,
    token: u64,
    asked: Tick,
    deadline: Tick,
    is_connected: bool,
    /// How much of the request is sent.
    sent: usize,
    reply: Reply,
}

impl Probe {
    /// Asks; the answer comes from [`Probe::go_on`] when epoll tells of `token`. `Err` is a bad
    /// answer that is there at once.
    pub fn ask(
        question: &Question,
        poll: &Poll,
        token: u64,
        now: Tick,
        timeout_ms: u64,
    ) -> Result<Self, String> {
        let connection = match &question.endpoint {
            Endpoint::Tcp(address) => socket::connect_tcp(*address),
            Endpoint::Unix(path) => socket::connect_unix(path),
        };
        let refused = |errno| format!("{}: {}", question.text, why(errno));
        let (Connection::Open(socket) | Connection::Pending(socket)) =
            connection.map_err(refused)?;
        poll.add(socket.as_fd(), token, Interest::Write).map_err(|fault| fault.to_string())?;
        Ok(Self {
            question: question.clone(),
            socket,
            token,
            asked: now,
            deadline: now.after(timeout_ms),
            is_connected: false,
            sent: 0,
            reply: Reply::new(MAX_BODY_BYTES),
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
        let what = match (self.is_connected, self.reply.status()) {
            (false, _) => "no connection",
            (true, None) => "no answer",
            (true, Some(_)) => "the answer did not end",
        };
        let patience = duration(self.deadline.since(self.asked));
        format!("{}: {what} within {patience}", self.question.text)
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

    /// Whether there is a good answer by now.
    fn step(&mut self, poll: &Poll) -> Result<bool, String> {
        if !self.is_connected {
            socket::connect_result(self.socket.as_fd()).map_err(why)?;
            self.is_connected = true;
        }
        let Some(get) = &self.question.get else {
            return Ok(true);
        };
        let rest = get.request.get(self.sent..).unwrap_or_default();
        if !rest.is_empty() {
            let count = stream::send(&self.socket, rest);
            // A server that answers without having listened may be gone already, but its answer
            // is there to be read.
            let count = count.or_else(|errno| match errno {
                Errno::PIPE | Errno::CONNRESET => Ok(rest.len()),
                errno => Err(why(errno)),
            })?;
            self.sent = self.sent.saturating_add(count);
            if count < rest.len() {
                return Ok(false);
            }
            poll.modify(self.socket.as_fd(), self.token, Interest::Read)
                .map_err(|fault| fault.to_string())?;
        }
        self.read()
    }

    fn read(&mut self) -> Result<bool, String> {
        let mut bytes = [0; READ_BYTES];
        for _ in 0..MAX_READS {
            let is_whole = match stream::read(&self.socket, &mut bytes).map_err(why)? {
                Got::Later => return Ok(false),
                Got::End => self.reply.end().map(|()| true),
                Got::Bytes(count) => self
                    .reply
                    .feed(bytes.get(..count).unwrap_or_default())
                    .map(|progress| progress == Progress::Done),
            };
            // Where nothing is expected of the body, its head says all, however long it is.
            let expects = self.question.get.as_ref().is_some_and(|get| get.expect.is_some());
            let is_said = !expects && self.reply.status().is_some();
            if is_said || is_whole.map_err(|bad| bad.to_string())? {
                return self.judge().map(|()| true);
            }
        }
        Ok(false)
    }

    fn judge(&self) -> Result<(), String> {
        if !self.reply.is_success() {
            return Err(format!("answered {}", self.reply.status().unwrap_or_default()));
        }
        let expect = self.question.get.as_ref().and_then(|get| get.expect.as_deref());
        match expect {
            Some(text) if !contains(self.reply.body(), text.as_bytes()) => {
                Err(format!("the body lacks {text:?}"))
            }
            _ => Ok(()),
        }
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|part| part == text)
}

fn why(errno: Errno) -> String {
    match errno {
        // What connect says of a unix socket whose queue is full.
        Errno::AGAIN => "too many connections wait there already".to_owned(),
        errno => reason(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::sys::files::tests::TempDir;

    struct Server {
        listener: TcpListener,
        poll: Poll,
        probe: Probe,
    }

    /// A probe that is connected to a server of ours.
    fn asked(path: &str, expect: Option<&str>) -> (Server, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let question = Question::http(&url, expect.map(str::to_owned)).unwrap();
        let poll = Poll::new().unwrap();
        let probe = Probe::ask(&question, &poll, 3, Tick(1000), 5000).unwrap();
        let mut server = Server { listener, poll, probe };
        assert_eq!(server.turn(), None);
        let (stream, _) = server.listener.accept().unwrap();
        (server, stream)
    }

    impl Server {
        /// One turn of a loop: waits until the probe can go on.
        fn turn(&mut self) -> Option<Result<(), String>> {
            let mut out = Vec::new();
            self.poll.wait(Some(10_000), &mut out).unwrap();
            assert_eq!(out.len(), 1);
            self.probe.go_on(&self.poll)
        }

        fn answer(&mut self) -> Result<(), String> {
            loop {
                if let Some(answer) = self.turn() {
                    return answer;
                }
            }
        }
    }

    fn answer_to(reply: &[u8], expect: Option<&str>) -> Result<(), String> {
        let (mut server, mut stream) = asked("/health", expect);
        // To close with the request unread would be a reset.
        assert!(stream.read(&mut [0; 1000]).unwrap() > 0);
        stream.write_all(reply).unwrap();
        drop(stream);
        server.answer().map_err(|why| why.split_once(": ").unwrap().1.to_owned())
    }

    #[test]
    fn a_good_answer() {
        let (mut server, mut stream) = asked("/health", None);
        let mut request = [0; 1000];
        let count = stream.read(&mut request).unwrap();
        assert!(request[..count].starts_with(b"GET /health HTTP/1.1\r\n"));
        assert!(request[..count].ends_with(b"\r\n\r\n"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nConte").unwrap();
        assert_eq!(server.turn(), None);
        stream.write_all(b"nt-Length: 2\r\n\r\nok").unwrap();
        // The server keeps the connection open, and is not waited for.
        assert_eq!(server.answer(), Ok(()));
        server.probe.close(&server.poll);
    }

    #[test]
    fn bad_answers_are_sentences() {
        for (reply, expect, want) in [
            (&b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"[..], None, "answered 503"),
            (b"HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n", None, "answered 302"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"health\":\"no\"}  ",
                Some("\"health\":\"true\""),
                r#"the body lacks "\"health\":\"true\"""#,
            ),
            (b"", None, "truncated reply: it ends in its beginning"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
                Some("ok"),
                "truncated reply: it ends in its body",
            ),
        ] {
            assert_eq!(answer_to(reply, expect), Err(want.to_owned()));
        }
        let ok = b"HTTP/1.0 200 OK\r\n\r\n{\"health\":\"true\"}";
        assert_eq!(answer_to(ok, Some("\"true\"")), Ok(()));
        assert!(answer_to(b"SSH-2.0-OpenSSH_9.2\r\n", None).unwrap_err().contains("malformed"));
    }

    #[test]
    fn a_server_that_never_ends_is_cut_off() {
        let (mut server, mut stream) = asked("/", None);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        assert_eq!(server.answer(), Ok(()), "nothing is expected of its body");
        let (mut server, mut stream) = asked("/", Some("never"));
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        stream.set_nonblocking(true).unwrap();
        let flood = [b'x'; 8192];
        let mut turns = 0;
        let answer = loop {
            while stream.write(&flood).is_ok() {}
            if let Some(answer) = server.turn() {
                break answer;
            }
            turns += 1;
        };
        assert!(answer.unwrap_err().ends_with("the reply's body is over 65536 bytes"));
        assert!(turns < 20);
    }

    #[test]
    fn no_answer_in_time_says_how_far_it_came() {
        let (mut server, mut stream) = asked("/", Some("ok"));
        assert_eq!(server.probe.deadline(), Tick(6000));
        assert!(server.probe.too_late().ends_with("/: no answer within 5s"));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").unwrap();
        assert_eq!(server.turn(), None);
        assert!(server.probe.too_late().ends_with("/: the answer did not end within 5s"));
    }

    #[test]
    fn refused_connections_are_sentences() {
        let address = {
            let gone = TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap()
        };
        let poll = Poll::new().unwrap();
        let tcp = Question::tcp(&address.to_string()).unwrap();
        let http = Question::http(&format!("http://{address}/health"), None).unwrap();
        let want =
            ["connecting to S: connection refused", "GET http://S/health: connection refused"];
        for (question, want) in [tcp, http].iter().zip(want) {
            assert_eq!(refusal(question, &poll).replace(&address.to_string(), "S"), want);
        }
        let missing = Question::unix("/nonexistent/socket");
        let want = "connecting to /nonexistent/socket: no such file or directory";
        assert_eq!(refusal(&missing, &poll), want);
    }

    /// Whether connecting fails at once or later is the kernel's choice.
    fn refusal(question: &Question, poll: &Poll) -> String {
        match Probe::ask(question, poll, 0, Tick(0), 1) {
            Err(why) => why,
            Ok(mut probe) => probe.go_on(poll).unwrap().unwrap_err(),
        }
    }

    #[test]
    fn connections_alone() {
        let dir = TempDir::new("probe");
        let path = dir.path().join("a.sock");
        let _unix = UnixListener::bind(&path).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = tcp.local_addr().unwrap();
        let mut poll = Poll::new().unwrap();
        for question in [
            Question::unix(path.to_str().unwrap()),
            Question::tcp(&format!("localhost:{}", address.port())).unwrap(),
        ] {
            let mut probe = Probe::ask(&question, &poll, 0, Tick(0), 1).unwrap();
            poll.wait(Some(10_000), &mut Vec::new()).unwrap();
            assert_eq!(probe.go_on(&poll), Some(Ok(())));
            probe.close(&poll);
        }
    }

    #[test]
    fn http_over_a_unix_socket() {
        let dir = TempDir::new("probe");
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let url = format!("http+unix://{}:/_ping", path.display());
        let mut poll = Poll::new().unwrap();
        let question = Question::http(&url, Some("OK".to_owned())).unwrap();
        let mut probe = Probe::ask(&question, &poll, 0, Tick(0), 1).unwrap();
        assert_eq!(probe.go_on(&poll), None);
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").unwrap();
        poll.wait(Some(10_000), &mut Vec::new()).unwrap();
        assert_eq!(probe.go_on(&poll), Some(Ok(())));
    }

    #[test]
    fn bad_addresses_are_sentences() {
        assert!(Question::http("https://1.2.3.4/", None).unwrap_err().contains("TLS"));
        assert!(Question::tcp("example.org:80").unwrap_err().contains("no name is resolved"));
    }
}
