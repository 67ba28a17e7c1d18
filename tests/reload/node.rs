//! A supervisor in a folder of its own, and the requests that tests make of it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pisup::sys::child::{descendants, signal};
use pisup::wire::ctl::{Done, ErrorDoc, Reply, Request, UnitDoc};

/// Longer than anything takes here, so that a test ends that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

const HUP: u8 = 1;
const KILL: u8 = 9;
const TERM: u8 = 15;
const CONT: u8 = 18;
const STOP: u8 = 19;

const NODE: &str = r#"
role = "master"
name = "pi-1"
interface = "lo"
address = "192.168.1.10"
"#;

pub struct Node {
    dir: PathBuf,
    supervisor: Child,
}

impl Node {
    /// A supervisor of these units; `DIR` in their texts is a folder that is theirs.
    pub fn new(units: &[(&str, &str)]) -> Self {
        Self::with_state(units, "state")
    }

    /// One whose state directory, in its folder, has this name.
    pub fn with_state(units: &[(&str, &str)], state: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("pisup-node-{}-{count}", std::process::id()));
        fs::create_dir_all(dir.join("config/units")).unwrap();
        fs::write(dir.join("config/node.toml"), NODE).unwrap();
        fs::write(dir.join("file"), "").unwrap();
        for (name, text) in units {
            write_unit(&dir, name, text);
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
        for place in ["config", "run"] {
            command.arg(format!("--{place}")).arg(dir.join(place));
        }
        command.arg("--state").arg(dir.join(state)).arg("supervise");
        let supervisor = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let node = Self { dir, supervisor };
        node.wait_for("its socket", || UnixStream::connect(node.socket()).is_ok());
        node
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("run/ctl.sock")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn write_unit(&self, name: &str, text: &str) {
        write_unit(&self.dir, name, text);
    }

    pub fn remove_unit(&self, name: &str) {
        fs::remove_file(self.dir.join(format!("config/units/{name}.toml"))).unwrap();
    }

    /// Waits until something is so.
    pub fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "{what} has not come");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a service has made this file.
    pub fn wait_for_file(&self, name: &str) {
        self.wait_for(name, || self.path(name).exists());
    }

    /// The file as text, without its last newline.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap().trim_end().to_owned()
    }

    /// What the supervisor finds when it looks up again has all happened in one turn of its loop.
    pub fn in_one_turn(&self, acts: impl FnOnce()) {
        let pid = self.supervisor.id();
        signal(None, pid, STOP).unwrap();
        self.wait_for("its rest", || stat_letter(pid) == Some('T'));
        acts();
        signal(None, pid, CONT).unwrap();
    }

    pub fn hang_up(&self) {
        signal(None, self.supervisor.id(), HUP).unwrap();
    }

    pub fn client(&self) -> Client {
        let socket = UnixStream::connect(self.socket()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(socket))
    }

    /// Asks, and waits for the end of the answer: its code and its message.
    pub fn ask(&self, request: &Request) -> (u8, String) {
        let mut client = self.client();
        client.ask(request);
        client.end()
    }

    pub fn start(&self, unit: &str) -> (u8, String) {
        self.ask(&Request::Start { units: vec![unit.to_owned()], no_wait: false })
    }

    pub fn unit(&self, name: &str) -> UnitDoc {
        let mut client = self.client();
        client.ask(&Request::Status { unit: Some(name.to_owned()) });
        match client.next() {
            Reply::Status(mut doc) => doc.units.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn wait_for_state(&self, unit: &str, state: &str) {
        self.wait_for(&format!("{unit} {state}"), || self.unit(unit).state == state);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let pid = self.supervisor.id();
        let _ = signal(None, pid, CONT);
        let _ = signal(None, pid, TERM);
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.supervisor.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
        if matches!(self.supervisor.try_wait(), Ok(None)) {
            for pid in descendants(pid).into_iter().chain([pid]) {
                let _ = signal(None, pid, KILL);
            }
            let _ = self.supervisor.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn write_unit(dir: &Path, name: &str, text: &str) {
    let text = text.replace("DIR", dir.to_str().unwrap());
    fs::write(dir.join(format!("config/units/{name}.toml")), text).unwrap();
}

fn stat_letter(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// One connection to the control socket.
pub struct Client(BufReader<UnixStream>);

impl Client {
    pub fn ask(&mut self, request: &Request) {
        self.0.get_mut().write_all(request.to_line().as_bytes()).unwrap();
    }

    /// The next reply.
    pub fn next(&mut self) -> Reply {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        Reply::parse(line.trim_end().as_bytes()).unwrap()
    }

    /// The next line of output.
    pub fn next_line(&mut self) -> String {
        match self.next() {
            Reply::Log(doc) => doc.line,
            other => panic!("{other:?}"),
        }
    }

    /// The end of an answer, over all that comes before it.
    pub fn end(&mut self) -> (u8, String) {
        loop {
            match self.next() {
                Reply::Done(Done { code, message }) => return (code, message),
                Reply::Error(ErrorDoc { code, message }) => return (code, message),
                _ => {}
            }
        }
    }
}
