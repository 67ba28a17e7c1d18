//! A machine of namespaces in which pisup-init is the first process, seen from outside.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub const INIT: &str = env!("CARGO_BIN_EXE_pisup-init");
pub const PISUP: &str = env!("CARGO_BIN_EXE_pisup");

/// Whether namespaces can be made here.
pub fn can_unshare() -> bool {
    let tried = Command::new("unshare")
        .args(["--pid", "--mount", "--net", "--uts", "--fork", "true"])
        .stderr(Stdio::null())
        .status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        assert!(std::env::var_os("CI").is_none(), "CI has to run as root, with namespaces");
    }
    can
}

/// Asks until the answer is there.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A directory with a configuration, gone at the end.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pisup-init-{}-{number}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        for dir in ["etc/units", "run", "state", "hooks"] {
            fs::create_dir_all(place.0.join(dir)).unwrap();
        }
        for dir in ["etc", "etc/units", "hooks"] {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(place.0.join(dir), mode).unwrap();
        }
        place.node("");
        place
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    pub fn node(&self, more: &str) {
        let text = "role = \"master\"\ninterface = \"lo\"\naddress = \"10.0.0.1\"\n";
        self.config("node.toml", &format!("{text}{more}"));
    }

    pub fn unit(&self, name: &str, text: &str) {
        let text = text.replace("HERE", &self.0.display().to_string());
        self.config(&format!("units/{name}.toml"), &text);
    }

    fn config(&self, name: &str, text: &str) {
        let path = self.at("etc").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Where the supervisor finds its things.
    pub fn places(&self) -> Vec<String> {
        [("--config", "etc"), ("--run", "run"), ("--state", "state")]
            .into_iter()
            .flat_map(|(option, dir)| [option.to_owned(), self.at(dir).display().to_string()])
            .collect()
    }

    pub fn ctl(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(PISUP).arg("ctl").args(self.places()).args(words).output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// A unit, as `status --json` shows it.
    pub fn status(&self, unit: &str) -> Value {
        let (_, text) = self.ctl(&["status", unit, "--json"]);
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        document.pointer("/units/0").cloned().unwrap_or_default()
    }

    pub fn await_ready(&self, unit: &str) -> Value {
        until(&format!("{unit} ready"), || {
            Some(self.status(unit)).filter(|status| status["ready"] == Value::Bool(true))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The machine; everything in it ends with it.
pub struct Machine {
    unshare: Child,
    console: PathBuf,
    /// The first process, by the number that it has out here.
    pub init: u32,
}

impl Machine {
    /// Starts `pisup-init ARGUMENTS` as the first process.
    pub fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut words = vec![INIT.to_owned(), "--hooks".to_owned()];
        words.push(place.at("hooks").display().to_string());
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        Self::start_program(place, &words)
    }

    /// The same with the real supervisor.
    pub fn supervise(place: &Place, arguments: &[&str]) -> Self {
        let places = place.places();
        let places = places.iter().map(String::as_str);
        let words: Vec<&str> = arguments.iter().copied().chain(["--"]).chain(places).collect();
        Self::start(place, &words)
    }

    pub fn start_program(place: &Place, words: &[String]) -> Self {
        let console = place.at("console");
        let output = File::create(&console).unwrap();
        let unshare = Command::new("unshare")
            .args(["--pid", "--mount", "--net", "--uts", "--fork", "--kill-child"])
            .args(["--mount-proc", "--"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let init = until("a first process", || children(unshare.id()).first().copied());
        Self { unshare, console, init }
    }

    pub fn console(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }

    pub fn await_line(&self, text: &str) {
        until(text, || self.console().contains(text).then_some(()));
    }

    /// The supervisor, by the number that it has out here.
    pub fn supervisor(&self) -> u32 {
        until("a supervisor", || {
            children(self.init).into_iter().find(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains("\0supervise")
            })
        })
    }

    /// How it ended; the signal says what was asked of the kernel.
    pub fn await_end(&mut self) -> ExitStatus {
        let unshare = &mut self.unshare;
        until("the end of the machine", || unshare.try_wait().unwrap())
    }

    pub fn await_signal(&mut self) -> Option<i32> {
        let status = self.await_end();
        status.signal().or_else(|| status.code().map(|code| code - 128))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.console().as_bytes());
        }
        // unshare takes its child along, and the kernel all the rest.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

pub fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

pub fn state(pid: u32) -> Option<char> {
    pisup::sys::child::stat(pid).map(|stat| stat.state)
}

pub fn signal(pid: u32, number: u8) {
    pisup::sys::child::signal(None, pid, number).unwrap();
}
