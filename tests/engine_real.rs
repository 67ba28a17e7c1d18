//! `pisup container-run` on a real dockerd, in mount and network namespaces of its own: no image
//! is fetched, nothing of the machine's own engine is touched. Without root or dockerd it says so
//! and is skipped.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::indexing_slicing, reason = "a test that finds nothing has to fail")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use pisup::wire::notify::{self, Message};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, set_child_subreaper, waitid,
};

const NO_CONTAINER: i32 = 125;
const PATIENCE: Duration = Duration::from_secs(120);

/// Stays until TERM, which it notes.
const STAYS: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done";

#[test]
fn containers_on_a_real_engine() {
    if !is_inside("containers_on_a_real_engine") {
        return;
    }
    let mut engine = Engine::new();
    output_and_exit_codes(&engine);
    stops(&engine);
    a_killed_owner_is_replaced(&engine);
    another_configuration_replaces(&engine);
    strangers_are_left_alone(&engine);
    what_the_engine_cannot_do(&engine);
    a_killed_engine(&mut engine);
}

fn output_and_exit_codes(engine: &Engine) {
    let ran = engine.run("echo out; echo err >&2; exit 3");
    assert_eq!(ran.status.code(), Some(3), "{}", said(&ran));
    assert_eq!((ran.stdout.as_slice(), said(&ran).as_str()), (&b"out\n"[..], "err\n"));
    // The same again: what is left of the first is removed.
    let ran = engine.run("exit 44");
    assert_eq!((ran.status.code(), said(&ran)), (Some(44), String::new()));
    let ran =
        engine.run("i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678; i=$((i+1)); done");
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(0), 400_000), "{}", said(&ran));
}

fn stops(engine: &Engine) {
    let mut owner = engine.start(STAYS, &[]);
    assert_eq!(owner.line(), "up\n");
    let pid = engine.container_pid();
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "sh\n");
    let private = private_bytes(owner.0.id());
    note(&format!("container-run: {private} bytes of memory of its own"));
    assert!(private < 1_000_000, "{private}");
    owner.signal(Signal::TERM);
    assert_eq!(owner.end(), (Some(0), "bye\n".to_owned()));

    let mut owner = engine.start(&STAYS.replace("echo bye; exit 0", ""), &["--stop-timeout=1000"]);
    assert_eq!(owner.line(), "up\n");
    owner.signal(Signal::TERM);
    assert_eq!(owner.end().0, Some(137));
}

fn a_killed_owner_is_replaced(engine: &Engine) {
    let script = "i=0; trap 'echo bye $i; exit 0' TERM; echo up; \
        while :; do sleep 0.1; i=$((i+1)); [ -e /now ] && rm /now && echo now; done";
    let mut owner = engine.start(script, &[]);
    assert_eq!(owner.line(), "up\n");
    let first = (engine.inspect("{{.Id}}"), engine.container_pid());
    owner.signal(Signal::KILL);
    owner.end();
    let mut owner = engine.start(script, &[]);
    let pid = engine.container_pid();
    assert_eq!((engine.inspect("{{.Id}}"), pid), first);
    // Its output comes again, and so does the end.
    std::fs::write(format!("/proc/{pid}/root/now"), "").unwrap();
    assert_eq!(owner.line(), "now\n");
    owner.signal(Signal::TERM);
    let (code, rest) = owner.end();
    assert!(code == Some(0) && rest.starts_with("bye "), "{code:?} {rest}");

    // Not if it is not wanted.
    let mut owner = engine.start(STAYS, &[]);
    assert_eq!(owner.line(), "up\n");
    let first = engine.inspect("{{.Id}}");
    owner.signal(Signal::KILL);
    owner.end();
    let mut owner = engine.start(STAYS, &["--fresh"]);
    assert_eq!(owner.line(), "up\n");
    assert_ne!(engine.inspect("{{.Id}}"), first);
    owner.signal(Signal::TERM);
    assert_eq!(owner.end().0, Some(0));
}

fn another_configuration_replaces(engine: &Engine) {
    let mut owner = engine.start(STAYS, &["--env=A=1"]);
    assert_eq!(owner.line(), "up\n");
    owner.signal(Signal::KILL);
    owner.end();
    let ran = engine.run("echo $A $PWD $(id -u)");
    assert_eq!(ran.stdout, b"/ 0\n", "{}", said(&ran));
    assert!(said(&ran).contains("stopping the old container pisup-x: it was made differently"));
    let more = ["--env=A=b c", "--workdir=/bin", "--user=7", "--network=host", "--pid=host"];
    let mut owner = engine.start("echo $A $PWD $(id -u) $$", &more);
    let line = owner.line();
    assert!(line.starts_with("b c /bin 7 ") && line != "b c /bin 7 1\n", "{line}");
    assert_eq!(owner.end().0, Some(0));
}

fn strangers_are_left_alone(engine: &Engine) {
    engine.docker(&["rm", "-f", "pisup-x"]);
    engine.docker(&["create", "--name", "pisup-x", "--network=none", "pisup/busybox:test", "sh"]);
    let id = engine.inspect("{{.Id}}");
    let ran = engine.run("echo never");
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(NO_CONTAINER), 0));
    let want = format!("taken by container {} (image pisup/busybox:test), which is not", &id[..12]);
    assert!(said(&ran).contains(&want), "{}", said(&ran));
    assert_eq!(engine.inspect("{{.Id}}"), id);
    engine.docker(&["rm", "-f", "pisup-x"]);
}

fn what_the_engine_cannot_do(engine: &Engine) {
    let missing = |pull: &str| {
        let mut command = engine.command("true", &["--image=pisup/nothing:1", pull]);
        command.output().unwrap()
    };
    let ran = missing("--pull=never");
    assert_eq!(ran.status.code(), Some(NO_CONTAINER));
    assert!(said(&ran).contains("there is no image pisup/nothing:1"), "{}", said(&ran));
    let ran = missing("--pull=missing");
    assert_eq!(ran.status.code(), Some(NO_CONTAINER));
    assert!(said(&ran).contains("pulling pisup/nothing:1: the engine says: "), "{}", said(&ran));
    let mut command = engine.command("true", &["--", "/bin/nothing"]);
    let ran = command.output().unwrap();
    assert_eq!(ran.status.code(), Some(NO_CONTAINER));
    assert!(said(&ran).contains("starting the container: the engine says: "), "{}", said(&ran));
    assert!(said(&ran).contains("/bin/nothing"), "{}", said(&ran));
    assert_eq!(engine.docker(&["ps", "-aq"]), "");
}

fn a_killed_engine(engine: &mut Engine) {
    // The container runs on, and its owner waits; asked to, it ends the container all the same.
    let mut owner = engine.start(STAYS, &[]);
    assert_eq!(owner.line(), "up\n");
    let pid = engine.container_pid();
    engine.kill();
    let away = "waiting for the container: truncated reply: it ends in its body; the container \
        runs on (pid ";
    let complaint = owner.complaint();
    assert!(complaint.contains(away), "{complaint}");
    owner.signal(Signal::TERM);
    assert_eq!(owner.end().0, Some(143));
    assert!(!Path::new(&format!("/proc/{pid}/cwd")).exists());
    let ran = engine.run("true");
    assert!(said(&ran).contains("the engine does not answer on "), "{}", said(&ran));

    // As after a pulled plug: the engine finds old containers, and so does the owner.
    engine.restart(&[]);
    let ran = engine.run("echo again");
    assert_eq!(
        (ran.status.code(), ran.stdout.as_slice()),
        (Some(0), &b"again\n"[..]),
        "{}",
        said(&ran)
    );

    // Back with the container, it is asked again.
    let mut owner = engine.start(STAYS, &[]);
    assert_eq!(owner.line(), "up\n");
    let pid = engine.container_pid();
    engine.kill();
    assert!(owner.complaint().contains(away));
    engine.restart(&["--live-restore"]);
    assert_eq!(owner.complaint(), "pisup: the engine is back\n");
    assert_eq!(engine.inspect("{{.State.Pid}}"), pid.to_string());
    owner.signal(Signal::TERM);
    assert_eq!(owner.end(), (Some(0), "bye\n".to_owned()));

    // Without --live-restore it ends what it finds. Nobody, or the engine itself, can say how.
    let mut owner = engine.start(STAYS, &[]);
    assert_eq!(owner.line(), "up\n");
    engine.kill();
    engine.restart(&[]);
    let code = owner.end().0;
    assert!(matches!(code, Some(0 | NO_CONTAINER)), "{code:?}");
    assert_eq!(engine.docker(&["ps", "-q"]), "");
}

/// Whether this is the inner one; otherwise runs it.
fn is_inside(test: &str) -> bool {
    if std::env::var_os("PISUP_TEST_INSIDE").is_some() {
        return true;
    }
    let works = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let silent = command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    };
    if !works("unshare", &["--mount", "--net", "true"]) || !works("dockerd", &["--version"]) {
        note(&format!("skipped: {test} needs root and dockerd"));
        return false;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("PISUP_TEST_INSIDE", "1")
        .status();
    assert!(status.unwrap().success(), "{test} failed in its namespaces");
    false
}

fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Memory that is no page of a file. (A program that was just linked has dirty pages as well.)
fn private_bytes(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// A dockerd with a folder of its own.
struct Engine {
    folder: PathBuf,
    daemon: Child,
    notify: UnixDatagram,
}

impl Engine {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("pisup-real-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("root/bin")).unwrap();
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let notify = UnixDatagram::bind(folder.join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let daemon = Self::daemon(&folder, &[]);
        let engine = Self { folder, daemon, notify };
        engine.until_ready();
        engine.import();
        engine
    }

    fn daemon(folder: &Path, more: &[&str]) -> Child {
        let at = |name: &str| folder.join(name).display().to_string();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut daemon = Command::new("dockerd");
        daemon.args(["-H", &format!("unix://{}", at("sock"))]);
        daemon.args(["--data-root", &at("data"), "--exec-root", &at("exec")]);
        daemon.args(["--pidfile", &at("pid"), "--storage-driver=vfs", "--bridge=none"]);
        daemon.args(["--iptables=false", "--ip-masq=false", "--ip-forward=false"]);
        daemon.args(more).env("NOTIFY_SOCKET", folder.join("notify"));
        daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn until_ready(&self) {
        self.until(|message| (*message == Message::Ready).then_some(()));
    }

    fn until<T>(&self, wanted: impl Fn(&Message) -> Option<T>) -> T {
        loop {
            let mut datagram = [0; 4096];
            let count = self.notify.recv(&mut datagram).unwrap();
            let messages = notify::parse(&datagram[..count]);
            if let Some(found) = messages.iter().find_map(&wanted) {
                return found;
            }
        }
    }

    /// An image of a static busybox.
    fn import(&self) {
        let root = self.folder.join("root");
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in ["sh", "sleep", "rm", "id", "true"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let tar = self.folder.join("image.tar").display().to_string();
        let root = root.display().to_string();
        let made = Command::new("tar").args(["-C", &root, "-cf", &tar, "."]).status();
        assert!(made.unwrap().success());
        self.docker(&["import", &tar, "pisup/busybox:test"]);
    }

    fn docker(&self, args: &[&str]) -> String {
        let socket = format!("unix://{}/sock", self.folder.display());
        let done = Command::new("docker").args(["-H", &socket]).args(args).output().unwrap();
        assert!(done.status.success(), "docker {args:?}: {}", said(&done));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn inspect(&self, format: &str) -> String {
        self.docker(&["inspect", "--format", format, "pisup-x"])
    }

    fn command(&self, script: &str, more: &[&str]) -> Command {
        let socket = self.folder.join("sock").display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
        command.args(["container-run", "--engine", &socket, "--image", "pisup/busybox:test"]);
        command.args(["--name", "pisup-x", "--unit", "x", "--pull=never", "--network=none"]);
        command.args(more);
        if !more.contains(&"--") {
            command.args(["--", "/bin/sh", "-c", script]);
        }
        command.env("NOTIFY_SOCKET", self.folder.join("notify"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, script: &str) -> Output {
        self.command(script, &[]).output().unwrap()
    }

    fn start(&self, script: &str, more: &[&str]) -> Owner {
        self.forget();
        Owner(self.command(script, more).spawn().unwrap())
    }

    /// What was told so far is not meant.
    fn forget(&self) {
        self.notify.set_nonblocking(true).unwrap();
        while self.notify.recv(&mut [0; 4096]).is_ok() {}
        self.notify.set_nonblocking(false).unwrap();
    }

    /// What the owner tells, which has to be what the engine says.
    fn container_pid(&self) -> u32 {
        let pid = self.until(|message| match message {
            Message::ContainerPid(pid) => Some(*pid),
            _ => None,
        });
        assert_eq!(self.inspect("{{.State.Pid}}"), pid.to_string());
        pid
    }

    /// Kills the daemon. Its containerd dies with it, and has to be reaped before the next daemon
    /// starts: that one takes a zombie for a living containerd and waits for it for ever.
    fn kill(&mut self) {
        set_child_subreaper(Some(getpid())).unwrap();
        let file = self.folder.join("exec/containerd/containerd.pid");
        let containerd = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        let containerd = Pid::from_raw(containerd).unwrap();
        waitid(WaitId::Pid(containerd), WaitIdOptions::EXITED).unwrap();
    }

    fn restart(&mut self, more: &[&str]) {
        self.forget();
        self.daemon = Self::daemon(&self.folder, more);
        self.until_ready();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let socket = format!("unix://{}/sock", self.folder.display());
        let remove = format!("docker -H {socket} rm -f $(docker -H {socket} ps -aq)");
        let _ = Command::new("sh").args(["-c", &remove]).output();
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let _ = self.daemon.wait();
        if std::thread::panicking() {
            note(&std::fs::read_to_string(self.folder.join("log")).unwrap_or_default());
        }
        // Its mounts are in our namespace and keep their folders busy.
        let unmount = format!("grep -o '{0}[^ ]*' /proc/self/mounts | xargs -r umount -l", {
            self.folder.display()
        });
        let _ = Command::new("sh").args(["-c", &unmount]).status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A running `container-run`.
struct Owner(Child);

impl Owner {
    fn line(&mut self) -> String {
        let mut line = String::new();
        // One byte at a time, so that nothing behind the line is taken.
        let out = self.0.stdout.as_mut().unwrap();
        BufReader::with_capacity(1, out).read_line(&mut line).unwrap();
        line
    }

    fn complaint(&mut self) -> String {
        let mut line = String::new();
        let err = self.0.stderr.as_mut().unwrap();
        BufReader::with_capacity(1, err).read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn end(self) -> (Option<i32>, String) {
        let output = self.0.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}
