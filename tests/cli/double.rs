//! A double of the supervisor: a thread that listens on a control socket and answers by a script.
//!
//! It knows no unit and runs nothing. It shows what the client does with an answer, whatever the
//! answer is; what the real supervisor answers is tested elsewhere.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longer than anything takes here, so that a test ends that would hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A run directory of its own, with a socket in it if somebody listens.
pub struct Run(PathBuf);

impl Run {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Not in the target directory: the path of a socket has at most 107 bytes.
        let path = std::env::temp_dir().join(format!("pisup-cli-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("ctl.sock")
    }

    /// `pisup --run HERE ctl ...`, its words parted by blanks.
    pub fn ctl(&self, line: &str) -> Command {
        // Whoever runs the tests in the background has ^C ignored, and that is inherited.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_pisup")]);
        command.arg("--run").arg(&self.0).arg("ctl").args(line.split_whitespace());
        command.stdin(Stdio::null()).env_remove("NO_COLOR");
        command
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One connection, as the supervisor has it.
pub struct Peer {
    reader: BufReader<UnixStream>,
    requests: mpsc::Sender<String>,
}

impl Peer {
    /// The next request; `None` when the client has closed the connection.
    pub fn request(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => {
                let line = line.trim_end().to_owned();
                let _ = self.requests.send(line.clone());
                Some(line)
            }
        }
    }

    /// Sends bytes; false when nobody takes them any more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Answers every request with the same bytes until the client goes.
    pub fn answer_all(mut self, bytes: &[u8]) {
        while self.request().is_some() {
            self.send(bytes);
        }
    }
}

/// The double: one connection, one script.
pub struct Double {
    pub run: Run,
    pub requests: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Double {
    pub fn new(script: impl FnOnce(Peer) + Send + 'static) -> Self {
        let run = Run::new();
        let listener = UnixListener::bind(run.socket()).unwrap();
        let (requests, received) = mpsc::channel();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            script(Peer { reader: BufReader::new(stream), requests });
        });
        Self { run, requests: received, thread: Some(thread) }
    }

    /// One that answers every request with the same text.
    pub fn saying(text: impl Into<Vec<u8>>) -> Self {
        let text = text.into();
        Self::new(move |peer| peer.answer_all(&text))
    }

    /// Runs `pisup ctl ...` to its end.
    pub fn ctl(&self, line: &str) -> Ended {
        Ended::of(&self.run.ctl(line).output().unwrap())
    }

    /// The script's end; what went wrong in it goes wrong here.
    pub fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

/// How the client ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// Waits for a child whose output is captured.
    pub fn wait(child: Child) -> Self {
        Self::of(&child.wait_with_output().unwrap())
    }
}
