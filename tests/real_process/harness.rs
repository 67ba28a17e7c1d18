//! One supervisor in a folder of its own, and all that a test asks of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::runner::tell;

/// Far more than anything here takes; only a broken test gets there.
const PATIENCE: Duration = Duration::from_secs(45);

/// What a test wants to have seen even if it passes begins with this.
const TOLD: &str = "note: ";

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// The folder of this test.
pub fn folder() -> &'static Path {
    FOLDER.get().unwrap()
}

pub fn settle(folder: &Path) {
    FOLDER.set(folder.to_owned()).unwrap();
}

/// Says something that is seen even if the test passes.
pub fn note(text: &str) {
    tell(&format!("{TOLD}{text}"));
}

/// What of a test's output is seen if it passed.
pub fn told(output: &str) -> String {
    let lines = output.lines().filter(|line| line.starts_with(TOLD));
    lines.map(|line| format!("    {line}\n")).collect()
}

/// Prints what the supervisor has said, for a test that fails.
pub fn tell_all() {
    let Some(folder) = FOLDER.get() else { return };
    if let Ok(text) = fs::read_to_string(folder.join("supervisor.log")) {
        tell(&format!("--- the supervisor said:\n{text}---"));
    }
}

/// Looks until it is as it should be; fails with the last complaint.
pub fn retry<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(why) if start.elapsed() > PATIENCE => panic!("it never came: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Looks until it is so.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    retry(|| if holds() { Ok(()) } else { Err(what.to_owned()) });
}

/// A program that has ended: its code, what it printed, and what it complained of.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Fails unless that was the exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

/// A supervisor and its directories.
pub struct Node {
    supervisor: Option<Child>,
}

impl Node {
    /// Directories without a unit, and no supervisor yet.
    pub fn new() -> Self {
        fs::create_dir_all(folder().join("config/units")).unwrap();
        let node = Self { supervisor: None };
        node.node_toml("");
        node
    }

    /// A supervisor of these units, each with its name.
    pub fn with(units: &[(&str, &str)]) -> Self {
        let mut node = Self::new();
        units.iter().for_each(|(name, text)| node.unit(name, text));
        node.start();
        node
    }

    pub fn node_toml(&self, more: &str) {
        let text = format!("role = \"master\"\naddress = \"10.9.8.7\"\n{more}");
        fs::write(folder().join("config/node.toml"), text).unwrap();
    }

    /// Writes a unit. `@double` is the misbehaving service, `@dir` the folder of this test.
    pub fn unit(&self, name: &str, text: &str) {
        fs::write(self.unit_file(name), filled(text)).unwrap();
    }

    pub fn unit_file(&self, name: &str) -> PathBuf {
        folder().join(format!("config/units/{name}.toml"))
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
        for place in ["config", "run", "state"] {
            command.arg(format!("--{place}")).arg(folder().join(place));
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts the supervisor, and waits until it answers.
    pub fn start(&mut self) {
        self.start_by(&[], |_| {});
    }

    /// The same by way of a program that executes it.
    pub fn start_by(&mut self, prefix: &[&str], change: impl Fn(&mut Command)) {
        let log = folder().join("supervisor.log");
        let log = File::options().append(true).create(true).open(log).unwrap();
        let own = self.command();
        let mut command = match prefix {
            [] => self.command(),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(own.get_program()).args(own.get_args());
                command
            }
        };
        command.arg("supervise").stdout(log.try_clone().unwrap()).stderr(log);
        change(&mut command);
        self.run(&mut command);
    }

    /// Starts `pisup-init`, which starts and keeps the supervisor, and waits until that answers.
    pub fn start_kept(&mut self) {
        let log = File::create(folder().join("supervisor.log")).unwrap();
        let own = self.command();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pisup-init"));
        command.arg("--supervisor").arg(own.get_program()).arg("--").args(own.get_args());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.run(&mut command);
    }

    fn run(&mut self, command: &mut Command) {
        self.supervisor = Some(command.spawn().unwrap());
        // Its answer comes behind all that it does before the first start.
        retry(|| {
            assert_eq!(self.ended(), None, "the supervisor has ended");
            self.answer()
        });
    }

    /// The document of `status --json`, if somebody answers.
    fn answer(&self) -> Result<Value, String> {
        let mut wire = Wire::of(self);
        wire.say(b"{\"v\":1,\"do\":\"status\"}\n");
        wire.reply().ok_or_else(|| "closed without an answer".to_owned())
    }

    pub fn socket(&self) -> PathBuf {
        folder().join("run/ctl.sock")
    }

    /// The process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.supervisor.as_ref().unwrap().id()
    }

    /// Starts the supervisor and does not wait for anything.
    pub fn launch(&mut self) {
        let log = folder().join("supervisor.log");
        let log = File::options().append(true).create(true).open(log).unwrap();
        let mut command = self.command();
        command.arg("supervise").stdout(log.try_clone().unwrap()).stderr(log);
        self.supervisor = Some(command.spawn().unwrap());
    }

    /// The process id of the supervisor, as it tells.
    pub fn own_pid(&self) -> u32 {
        u32::try_from(self.status()["supervisor"]["pid"].as_u64().unwrap()).unwrap()
    }

    /// Kills the supervisor and starts another one.
    pub fn replace(&mut self) {
        self.signal("KILL");
        assert_eq!(self.wait_end(), None);
        self.start();
    }

    /// Kills the supervisor that pisup-init keeps; how long it took until another one answered.
    pub fn replaced(&self) -> Duration {
        let old = self.own_pid();
        kill("KILL", old);
        let start = Instant::now();
        // Not until the old one is dead may its socket be taken for that of the new one.
        while is_alive(old) {
            std::thread::yield_now();
        }
        while UnixStream::connect(self.socket()).is_err() {
            assert!(start.elapsed() < PATIENCE, "there is no other one");
            std::thread::sleep(Duration::from_micros(200));
        }
        assert_ne!(self.own_pid(), old);
        start.elapsed()
    }

    /// How the supervisor ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.supervisor.as_mut().unwrap().try_wait().unwrap()
    }

    /// Waits for the end of the supervisor; its exit code.
    pub fn wait_end(&mut self) -> Option<i32> {
        retry(|| self.ended().ok_or_else(|| "the supervisor goes on".to_owned())).code()
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, name: &str) {
        kill(name, self.pid());
    }

    /// What the supervisor has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(folder().join("supervisor.log")).unwrap()
    }

    /// Runs `pisup ctl`.
    pub fn ctl(&self, words: &[&str]) -> Ended {
        let mut command = self.command();
        run(command.arg("ctl").args(words))
    }

    /// Starts `pisup ctl`, which will wait for something.
    pub fn ctl_waiting(&self, words: &[&str]) -> Child {
        // Whoever runs the tests in the background has ^C ignored, and that is inherited.
        let own = self.command();
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(own.get_program()).args(own.get_args());
        command.arg("ctl").args(words).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The document of `status --json`, straight from the socket.
    ///
    /// A child that a killed supervisor had forked has its socket for a moment, and never answers.
    pub fn status(&self) -> Value {
        retry(|| self.answer())
    }

    /// What `status` says of one unit.
    pub fn of(&self, unit: &str) -> Value {
        let status = self.status();
        let units = status["units"].as_array().unwrap();
        units.iter().find(|each| each["name"] == unit).cloned().unwrap_or(Value::Null)
    }

    /// Waits until the unit is as it should be; what `status` says of it then.
    #[track_caller]
    pub fn until(&self, unit: &str, holds: impl Fn(&Value) -> bool) -> Value {
        retry(|| {
            let seen = self.of(unit);
            if holds(&seen) { Ok(seen) } else { Err(format!("{seen:#}")) }
        })
    }

    /// Waits until the unit has that state.
    #[track_caller]
    pub fn until_state(&self, unit: &str, state: &str) -> Value {
        self.until(unit, |seen| seen["state"] == state)
    }

    /// The process id of a unit that is ready, or will be.
    #[track_caller]
    pub fn ready(&self, unit: &str) -> u32 {
        pid_of(&self.until_state(unit, "ready"))
    }

    /// The changes of state of a unit: `from`, `to` and `cause` of each.
    pub fn events(&self, unit: &str) -> Vec<Value> {
        let request = format!(r#"{{"v":1,"do":"events","units":["{unit}"]}}"#);
        let mut replies = Wire::of(self).ask(&request);
        replies.pop();
        replies
    }

    /// The states that a unit went through, in order.
    pub fn path(&self, unit: &str) -> Vec<String> {
        let moved = |event: &&Value| event["from"] != event["to"];
        let word = |event: &Value| event["to"].as_str().unwrap().to_owned();
        self.events(unit).iter().filter(moved).map(word).collect()
    }

    /// All lines that a unit has written.
    pub fn lines(&self, unit: &str) -> Vec<String> {
        let request = format!(r#"{{"v":1,"do":"logs","units":["{unit}"]}}"#);
        let mut replies = Wire::of(self).ask(&request);
        replies.pop();
        replies.iter().map(|reply| reply["line"].as_str().unwrap().to_owned()).collect()
    }
}

/// Puts the misbehaving service and the folder into a unit's text.
fn filled(text: &str) -> String {
    let own = std::env::current_exe().unwrap();
    let double = format!("\"{}\", \"double\"", own.display());
    text.replace("\"@double\"", &double).replace("@dir", folder().to_str().unwrap())
}

/// A path in the folder of this test.
pub fn path(name: &str) -> PathBuf {
    folder().join(name)
}

pub fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_default()
}

pub fn write(name: &str, text: &str) {
    fs::write(path(name), text).unwrap();
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ended {
    let done = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

pub fn pid_of(unit: &Value) -> u32 {
    let pid = unit["main_pid"].as_u64().or_else(|| unit["pid"].as_u64());
    u32::try_from(pid.unwrap_or_else(|| panic!("no process: {unit:#}"))).unwrap()
}

/// Sends a signal; to a process that is gone it is none.
pub fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).output();
    assert!(status.is_ok());
}

/// Whether there is a process of that id that is not yet dead.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A line of `/proc/PID/status`, single-spaced.
pub fn proc_status(pid: u32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.split(':').next() == Some(key)).unwrap();
    line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The open descriptors of a process, and what they are.
pub fn descriptors(pid: u32) -> Vec<(i32, String)> {
    let folder = format!("/proc/{pid}/fd");
    let mut found: Vec<(i32, String)> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?.display().to_string();
            Some((path.file_name()?.to_str()?.parse().ok()?, target))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Fails unless a process has these open and no others; what it opens for a moment is no leak.
pub fn has_open(pid: u32, wanted: &[i32]) -> Vec<(i32, String)> {
    retry(|| {
        let open = descriptors(pid);
        let is_so = open.iter().map(|(number, _)| number).eq(wanted);
        if is_so { Ok(open) } else { Err(format!("{open:?}")) }
    })
}

/// The environment that a process was started with.
pub fn environment(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let mut all: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    all.sort_unstable();
    all
}

/// A connection to the control socket.
pub struct Wire {
    pub stream: UnixStream,
    replies: BufReader<UnixStream>,
}

impl Wire {
    pub fn of(node: &Node) -> Self {
        let stream = retry(|| UnixStream::connect(node.socket()).map_err(|why| why.to_string()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let replies = BufReader::new(stream.try_clone().unwrap());
        Self { stream, replies }
    }

    /// Says something, whatever it is. A connection that is closed meanwhile takes no more.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next reply; `None` when the connection is closed.
    pub fn reply(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.replies.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(why) => panic!("no reply: {why}"),
        }
    }

    /// The replies up to the one that ends the answer.
    pub fn answer(&mut self) -> Vec<Value> {
        let mut replies = Vec::new();
        loop {
            let reply = self.reply().unwrap_or_else(|| panic!("closed after {replies:?}"));
            let is_last = reply["is"] == "done" || reply["is"] == "error";
            replies.push(reply);
            if is_last {
                return replies;
            }
        }
    }

    /// Asks, and takes the whole answer.
    pub fn ask(&mut self, request: &str) -> Vec<Value> {
        self.say(request.as_bytes());
        self.say(b"\n");
        self.answer()
    }
}
