//! A double of a container engine: a thread on a unix socket that answers each request from a
//! table, faithfully or as badly as a test wants, and remembers what it was asked.
//!
//! It knows one container, `pisup-x` of unit `x`, with the id `abc123` and pid 4242.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to a connection.
#[derive(Clone)]
pub enum Answer {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// These bytes, then nothing for as long as the other side waits.
    Hang(Vec<u8>),
    /// These bytes once the test says so.
    Later(Vec<u8>),
}

/// `(what the request line contains, answer)`; the first that fits counts.
pub type Table = Vec<(&'static str, Answer)>;

/// A complete reply.
pub fn reply(status: u16, body: &str) -> Answer {
    let len = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n");
    Answer::Bytes(format!("{head}Content-Length: {len}\r\n\r\n{body}").into_bytes())
}

/// A reply of frames, up to the end of the connection.
pub fn output(frames: &[(u8, &str)]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
    let mut out = head.as_bytes().to_vec();
    for (stream, text) in frames {
        out.extend([*stream, 0, 0, 0]);
        out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        out.extend(text.as_bytes());
    }
    out
}

/// The reply to an inspection.
pub fn container(is_running: bool, unit: &str, config: &str) -> Answer {
    let pid = if is_running { 4242 } else { 0 };
    let labels = format!(r#"{{"pisup.unit":"{unit}","pisup.config":"{config}"}}"#);
    let state = format!(r#"{{"Running":{is_running},"Pid":{pid}}}"#);
    let config = format!(r#"{{"Image":"etcd:2.1","Labels":{labels}}}"#);
    reply(200, &format!(r#"{{"Id":"abc123","State":{state},"Config":{config}}}"#))
}

/// An engine on which all goes well; the container says two lines and ends with code 7.
pub fn good() -> Table {
    vec![
        ("GET /version", reply(200, r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#)),
        ("GET /v1.41/containers/pisup-x/json", reply(404, r#"{"message":"No such container"}"#)),
        ("GET /v1.41/containers/abc123/json", container(true, "x", "")),
        ("GET /v1.41/images/etcd%3A2.1/json", reply(200, "{}")),
        ("POST /v1.41/images/create", reply(200, "{\"status\":\"Pulling\"}\r\n")),
        ("POST /v1.41/containers/create", reply(201, r#"{"Id":"abc123","Warnings":[]}"#)),
        ("/attach?", Answer::Bytes(output(&[(1, "hello\n"), (2, "oops\n")]))),
        ("/start", Answer::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())),
        ("/wait", reply(200, r#"{"StatusCode":7}"#)),
        ("/stop?", Answer::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())),
        ("/kill?", Answer::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())),
        ("DELETE ", Answer::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())),
    ]
}

/// The good table, but for one answer.
pub fn but(request: &'static str, answer: Answer) -> Table {
    let mut table = good();
    let place = table.iter().position(|(known, _)| *known == request);
    table[place.unwrap_or_else(|| panic!("{request}"))].1 = answer;
    table
}

/// A running double.
pub struct Double {
    folder: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    /// One word for each request that came.
    pub asked: Receiver<String>,
    later: Sender<()>,
}

impl Double {
    pub fn start(table: Table) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = format!("pisup-engine-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let (tell, asked) = channel();
        let (later, when) = channel();
        let when = Arc::new(Mutex::new(when));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (table, seen) = (table.clone(), Arc::clone(&seen));
                let (tell, when) = (tell.clone(), Arc::clone(&when));
                thread::spawn(move || serve(socket, &table, &seen, &tell, &when));
            }
        });
        Self { folder, requests, asked, later }
    }

    pub fn socket(&self) -> String {
        self.folder.join("sock").display().to_string()
    }

    /// Lets one [`Answer::Later`] go.
    pub fn go_on(&self) {
        self.later.send(()).unwrap();
    }

    /// Waits until a request came that contains this.
    pub fn wait_for(&self, request: &str) {
        while !self.asked.recv_timeout(Duration::from_secs(60)).unwrap().contains(request) {}
    }

    /// What was asked so far: method and path, and the body if there was one.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// `pisup container-run` for the container of the table, not started yet.
    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
        let socket = self.socket();
        let own = ["container-run", "--engine", &socket, "--image", "etcd:2.1"];
        command.args(own).args(["--name", "pisup-x", "--unit", "x"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("NOTIFY_SOCKET");
        command
    }

    pub fn spawn(&self, more: &[&str]) -> Child {
        self.command(more).spawn().unwrap()
    }

    pub fn run(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn serve(
    mut socket: UnixStream,
    table: &Table,
    seen: &Mutex<Vec<String>>,
    tell: &Sender<String>,
    when: &Mutex<Receiver<()>>,
) {
    let Some(request) = read_request(&mut socket) else { return };
    seen.lock().unwrap().push(request.clone());
    let line = request.lines().next().unwrap_or_default().to_owned();
    let answer = table.iter().find(|(part, _)| line.contains(part)).map(|(_, answer)| answer);
    let answer = answer.unwrap_or_else(|| panic!("the double was asked {line}"));
    // The test may have ended.
    let _ = tell.send(line);
    match answer {
        Answer::Bytes(bytes) => drop(socket.write_all(bytes)),
        Answer::Hang(bytes) => {
            let _ = socket.write_all(bytes);
            let _ = socket.read(&mut [0]);
        }
        Answer::Later(bytes) => {
            let _ = when.lock().unwrap().recv();
            let _ = socket.write_all(bytes);
        }
    }
}

fn read_request(socket: &mut UnixStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    socket.read_exact(&mut body).unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
    Some(format!("{line}\n{}", String::from_utf8(body).unwrap()))
}
