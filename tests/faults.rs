//! A whole supervisor under faults: full disks, services that will not die, signals that come too
//! early. Each test runs `pisup supervise` in a directory of its own, without root where it can.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "engine/double.rs"]
#[allow(
    dead_code,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the tests of container-run use the rest, and fail by it"
)]
mod double;

use std::fs;
use std::io::{Write, stderr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use double::{Answer, Double, Table, but, output, reply};
use pisup::sys::child::{self, KILL};
use pisup::wire::container::Spec;
use pisup::wire::engine::fingerprint;

const PISUP: &str = env!("CARGO_BIN_EXE_pisup");

const NODE: &str = r#"
role = "master"
name = "test"
interface = "lo"
address = "10.0.0.7"
"#;

/// Hides the groups of a machine from a supervisor, which then has to do without.
const UNTRACKED: &str = "mount -t tmpfs none /sys/fs/cgroup && exec \"$0\" \"$@\"";

/// A supervisor with its directories; all of it ends with the test.
struct Node {
    dir: PathBuf,
    supervisor: Child,
}

impl Node {
    /// A supervisor of these units, by name; `@` in their text is the test's own directory.
    fn start(test: &str, units: &[(&str, &str)]) -> Self {
        Self::start_by(&[PISUP], test, units)
    }

    /// The same on a machine without cgroups; `None`, and said so, where one cannot be made.
    fn start_untracked(test: &str, units: &[(&str, &str)]) -> Option<Self> {
        let is_root =
            Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
        if !is_root.is_ok_and(|status| status.success()) {
            skipped(test, "needs root, for a mount namespace");
            return None;
        }
        let by = ["unshare", "--mount", "sh", "-c", UNTRACKED, PISUP];
        Some(Self::start_by(&by, test, units))
    }

    fn start_by(by: &[&str], test: &str, units: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("pisup-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("config/units")).unwrap();
        fs::write(dir.join("config/node.toml"), NODE).unwrap();
        for (name, text) in units {
            let text = text.replace('@', dir.to_str().unwrap());
            fs::write(dir.join(format!("config/units/{name}.toml")), text).unwrap();
        }
        let [program, arguments @ ..] = by else { unreachable!() };
        let mut command = Command::new(program);
        command.args(arguments).arg("supervise").stdin(Stdio::null());
        for (option, name) in [("--config", "config"), ("--run", "run"), ("--state", "state")] {
            command.arg(option).arg(dir.join(name));
        }
        let log = fs::File::create(dir.join("log")).unwrap();
        Self { supervisor: command.stderr(log).spawn().unwrap(), dir }
    }

    /// What the supervisor has said so far.
    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// Exit code and both outputs of a command to the supervisor.
    fn ctl(&self, arguments: &[&str]) -> (i32, String) {
        let run = self.dir.join("run");
        let mut command = Command::new(PISUP);
        let done = command.arg("--run").arg(run).arg("ctl").args(arguments).output().unwrap();
        let text = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        (done.status.code().unwrap(), text)
    }

    /// A file of the test's own directory; empty while it is not there.
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            let is_running = child::stat(self.supervisor.id()).is_some_and(|s| !s.is_zombie());
            assert!(is_running, "{what}: it has ended;\n{}", self.log());
            assert!(start.elapsed() < Duration::from_secs(60), "{what}: never;\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the supervisor's log says so.
    fn until_said(&self, text: &str) {
        self.until(text, |node| node.log().contains(text));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Frozen it starts nobody anew, and whom it has lost are still its children.
        let supervisor = self.supervisor.id();
        let _ = child::signal(None, supervisor, 19);
        let is_dead = |pid: &u32| child::stat(*pid).is_none_or(|stat| stat.is_zombie());
        for _ in 0..1000 {
            let living = child::descendants(supervisor).into_iter().filter(|pid| !is_dead(pid));
            let living: Vec<u32> = living.collect();
            if living.is_empty() {
                break;
            }
            for pid in living {
                let _ = child::signal(None, pid, KILL);
            }
        }
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Whether the process whose number a file of the test holds is alive.
fn is_alive(pid: &str) -> bool {
    let pid = pid.trim().parse().unwrap();
    child::stat(pid).is_some_and(|stat| !stat.is_zombie())
}

/// The command line of a service that is this program: the test of that name in it.
fn inner(test: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!("exec = [{program:?}, \"--exact\", \"{test}\"]\nenv = {{ PISUP_TEST_DIR = \"@\" }}\n")
}

/// Where an inner test finds its files; `None` in the outer run.
fn inner_dir() -> Option<PathBuf> {
    std::env::var_os("PISUP_TEST_DIR").map(PathBuf::from)
}

fn notify(text: &str) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(text.as_bytes(), std::env::var_os("NOTIFY_SOCKET").unwrap()).unwrap();
}

fn skipped(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}\n");
    stderr().write_all(line.as_bytes()).unwrap();
}

#[test]
fn values_that_cannot_be_kept_are_told_once_a_change() {
    let unit = r#"
        [command]
        exec = ["sh", "-c", "echo A=1 > @/values; exec sleep 1000"]
        [ready]
        file = "@/values"
        [exports]
        file = "@/values"
        keep = true
    "#;
    let node = Node::start("keep", &[("a", unit)]);
    fs::create_dir_all(node.dir.join("state")).unwrap();
    fs::write(node.dir.join("state/exports"), "in the way").unwrap();
    node.until_said("its values are not kept");
    assert_eq!(node.ctl(&["start", "a"]).0, 0);
    let failures = || node.log().matches("its values are not kept").count();
    let before = failures();
    for _ in 0..20 {
        assert_eq!(node.ctl(&["status", "a"]).0, 0);
    }
    assert!(failures() <= before + 2, "{}", node.log());
}

/// Leaves a process behind that does not heed TERM.
const LEAVES_ONE: &str = r#"
    [command]
    exec = ["sh", "-c", """
        (trap '' TERM; until [ -s @/left ]; do sleep 0.01; done; echo > @/up; exec sleep 1000) &
        echo $$! > @/left; exec sleep 1000"""]
    [ready]
    file = "@/up"
"#;

fn leaves_nothing_behind(node: &Node) {
    node.until("the start", |node| node.ctl(&["start", "a"]).0 == 0);
    let left = node.read("left");
    assert!(is_alive(&left));
    assert_eq!(node.ctl(&["--timeout", "4s", "stop", "a"]).0, 0, "{}", node.log());
    assert!(!is_alive(&left), "{}", node.log());
}

#[test]
fn a_group_is_swept_after_its_leader_is_gone() {
    let unit = format!("{LEAVES_ONE}\n[stop]\nkill = \"group\"\n");
    leaves_nothing_behind(&Node::start("group", &[("a", &unit)]));
}

#[test]
fn without_cgroups_a_session_is_swept_after_its_leader_is_gone() {
    if let Some(node) = Node::start_untracked("untracked", &[("a", LEAVES_ONE)]) {
        leaves_nothing_behind(&node);
    }
}

#[test]
fn inner_hands_over_to_a_daemon() {
    let Some(dir) = inner_dir() else { return };
    let daemon = Command::new("sleep").arg("1000").spawn().unwrap().id();
    fs::write(dir.join("daemon"), daemon.to_string()).unwrap();
    notify(&format!("MAINPID={daemon}\nREADY=1"));
}

fn ends_what_it_was_handed(node: &Node) {
    node.until("the start", |node| node.ctl(&["start", "a"]).0 == 0);
    assert!(is_alive(&node.read("daemon")));
    assert_eq!(node.ctl(&["--timeout", "8s", "stop", "a"]).0, 0, "{}", node.log());
    assert!(!is_alive(&node.read("daemon")));
}

#[test]
fn a_named_main_process_ends_with_its_unit() {
    let command = inner("inner_hands_over_to_a_daemon");
    let rest = "[ready]\nnotify = true\n[stop]\nkill = \"group\"\n";
    ends_what_it_was_handed(&Node::start(
        "named",
        &[("a", &format!("[command]\n{command}{rest}"))],
    ));
    let unit = format!("[command]\n{command}[ready]\nnotify = true\n");
    if let Some(node) = Node::start_untracked("named-untracked", &[("a", &unit)]) {
        ends_what_it_was_handed(&node);
    }
}

#[test]
fn a_changed_limit_is_in_force_in_the_next_run() {
    let unit = |bytes: u32| {
        format!("[command]\nexec = [\"sleep\", \"1000\"]\n[cgroup]\nmemory-max = {bytes}\n")
    };
    let node = Node::start("limits", &[("a", &unit(64 << 20))]);
    node.until("the start", |node| node.ctl(&["start", "a"]).0 == 0);
    let Some(file) = memory_limit_of(&node) else {
        return skipped("limits", "needs root and the memory controller");
    };
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), (64 << 20).to_string());
    fs::write(node.dir.join("config/units/a.toml"), unit(32 << 20)).unwrap();
    assert_eq!(node.ctl(&["reload-config"]).0, 0, "{}", node.log());
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), (32 << 20).to_string());
}

/// Where the kernel keeps the memory limit of unit `a`.
fn memory_limit_of(node: &Node) -> Option<PathBuf> {
    let (_, status) = node.ctl(&["status", "a", "--json"]);
    let pid = status.split_once("\"main_pid\":")?.1.split(',').next()?.trim();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = |line: &str| {
        let (name, path) = line.split_once(':')?.1.split_once(':')?;
        let (folder, file) = match name {
            "memory" => ("memory", "memory.limit_in_bytes"),
            "" => ("", "memory.max"),
            _ => return None,
        };
        let root = PathBuf::from("/sys/fs/cgroup").join(folder);
        let file = root.join(path.trim_start_matches('/')).join(file);
        file.exists().then_some(file)
    };
    groups.lines().find_map(path)
}

/// A unit that is the container of the double.
fn contained(double: &Double, rest: &str) -> String {
    let engine = double.socket();
    format!("[container]\nengine = {engine:?}\nimage = \"etcd:2.1\"\nname = \"pisup-x\"\n{rest}")
}

/// An engine whose container is there, made by the supervisor of a test, and never ends.
fn taken_over(test: &str) -> Table {
    let run = std::env::temp_dir().join(format!("pisup-{test}-{}/run", std::process::id()));
    let config = fingerprint(&Spec { image: "etcd:2.1".into(), ..Spec::default() });
    let labels =
        format!("{{\"pisup.unit\":\"x\",\"pisup.run\":{run:?},\"pisup.config\":\"{config}\"}}");
    let inspection = format!(
        "{{\"Id\":\"abc123\",\"State\":{{\"Running\":true,\"Pid\":4242}},\
         \"Config\":{{\"Image\":\"etcd:2.1\",\"Labels\":{labels}}}}}"
    );
    let mut table = but("GET /v1.41/containers/pisup-x/json", reply(200, &inspection));
    for (request, answer) in &mut table {
        match *request {
            "/attach?" => *answer = Answer::Hang(output(&[])),
            "/wait" => *answer = Answer::Hang(Vec::new()),
            _ => {}
        }
    }
    table
}

#[test]
fn a_container_that_is_taken_over_is_as_ready_as_it_was() {
    let double = Double::start(taken_over("taken"));
    let unit = contained(&double, "[ready]\nlog = \"it serves\"\n[reload]\nsignal = \"HUP\"\n");
    let node = Node::start("taken", &[("x", &unit)]);
    node.until("the start", |node| node.ctl(&["start", "x"]).0 == 0);
    assert_eq!(node.ctl(&["reload", "x"]).0, 0);
    double.wait_for("/kill?signal=1");
    let (code, text) = node.ctl(&["kill", "KILL", "x"]);
    assert!(code == 1 && text.contains("x is a container: its owner passes HUP"), "{text}");
}

#[test]
fn blank_lines_by_the_thousand_are_told_at_once() {
    let unit = "[command]\nexec = [\"sh\", \"-c\", \"yes '' | head -n 20000; exec sleep 1000\"]\n\
                [log]\nring = \"4M\"\n";
    let node = Node::start("blank", &[("a", unit)]);
    node.until("the lines", |node| node.ctl(&["logs", "a"]).1.lines().count() == 20_000);
}

#[test]
fn a_socket_whose_file_was_removed_is_there_again_after_a_restart() {
    let unit = "[command]\nexec = [\"sleep\", \"1000\"]\n[socket]\nlisten = [\"@/socket\"]\n";
    let node = Node::start("socket", &[("a", unit)]);
    node.until("the start", |node| node.ctl(&["start", "a"]).0 == 0);
    fs::remove_file(node.dir.join("socket")).unwrap();
    assert_eq!(node.ctl(&["restart", "a"]).0, 0);
    assert!(node.dir.join("socket").exists());
}

#[test]
fn a_probe_ends_no_line_of_its_service() {
    let unit = r#"
        [command]
        exec = ["sh", "-c", """
            printf half; while [ ! -e @/go ]; do sleep 0.02; done; echo ' line'; exec sleep 1000"""]
        [health]
        exec = ["sh", "-c", "echo >> @/asked"]
        every = "100ms"
    "#;
    let node = Node::start("half", &[("a", unit)]);
    node.until("two probes", |node| node.read("asked").lines().count() > 2);
    fs::write(node.dir.join("go"), "").unwrap();
    node.until("its line", |node| node.ctl(&["logs", "a"]).1.contains("line"));
    assert!(node.ctl(&["logs", "a"]).1.contains("half line"));
}

#[test]
fn a_probe_that_was_called_off_does_not_answer_for_the_next() {
    let asks = |more: &str| {
        format!("[command]\nexec = [\"sleep\", \"1000\"]\n[ready]\nevery = \"100ms\"\n{more}\n")
    };
    let slow = asks("exec = [\"sh\", \"-c\", \"echo >> @/asked; exec sleep 1000\"]");
    let quick = asks("exec = [\"sh\", \"-c\", \"echo >> @/time; exit 1\"]");
    let node = Node::start("off", &[("a", &slow), ("b", &quick)]);
    let asked = |node: &Node| node.read("asked").lines().count();
    node.until("the first", |node| asked(node) == 1);
    let other = "[command]\nexec = [\"sleep\", \"1000\"]\n";
    fs::write(node.dir.join("config/units/c.toml"), other).unwrap();
    assert_eq!(node.ctl(&["reload-config", "--no-wait"]).0, 0);
    node.until("the second", |node| asked(node) == 2);
    // Long enough for one more, had the second been taken for answered.
    let before = node.read("time").lines().count();
    node.until("time", |node| node.read("time").lines().count() > before + 5);
    assert_eq!(asked(&node), 2);
}

#[test]
fn a_step_that_heeds_no_signal_is_killed() {
    let unit = r#"
        [[prepare]]
        exec = ["sh", "-c", "trap '' TERM; echo > @/up; sleep 1000"]
        [command]
        exec = ["sleep", "1000"]
        [stop]
        timeout = "never"
    "#;
    let node = Node::start("step", &[("a", unit)]);
    node.until("the step", |node| !node.read("up").is_empty());
    assert_eq!(node.ctl(&["--timeout", "40s", "stop", "a"]).0, 0, "{}", node.log());
}

#[test]
fn a_reload_that_hangs_is_given_up() {
    let unit = "[command]\nexec = [\"sleep\", \"1000\"]\n\
                [reload]\nexec = [\"sleep\", \"1001\"]\ntimeout = \"300ms\"\n";
    let node = Node::start("reload", &[("a", unit)]);
    node.until("the start", |node| node.ctl(&["start", "a"]).0 == 0);
    let (code, text) = node.ctl(&["--timeout", "30s", "reload", "a"]);
    assert!(code == 1 && text.contains("its command did not end within "), "{code} {text}");
}

#[test]
fn inner_reloads_for_ever() {
    if inner_dir().is_none() {
        return;
    }
    notify("READY=1");
    notify("RELOADING=1");
    let mut sleep = Command::new("sleep").arg("1000").spawn().unwrap();
    sleep.wait().unwrap();
}

#[test]
fn who_reloads_has_to_be_ready_again() {
    let command = inner("inner_reloads_for_ever");
    let unit = format!("[command]\n{command}[ready]\nnotify = true\ntimeout = \"1s\"\n");
    let node = Node::start("reloading", &[("a", &unit)]);
    node.until_said("it said RELOADING=1, and READY=1 did not follow in time");
}

#[test]
fn what_a_supervisor_is_born_with_does_not_count() {
    let unit = "[command]\nexec = [\"sh\", \"-c\", \"ulimit -Sn > @/limit; exec sleep 1000\"]\n";
    let script = "ulimit -Sn 200; umask 077; exec \"$0\" \"$@\"";
    let node = Node::start_by(&["sh", "-c", script, PISUP], "born", &[("a", unit)]);
    node.until("the limit", |node| node.read("limit") == "200\n");
    let mode = fs::metadata(node.dir.join("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.supervisor.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().skip(3);
    assert_eq!(numbers.next(), numbers.next(), "{line}");
}

#[test]
fn output_that_cannot_be_written_is_told_and_written_later() {
    let unit = r#"
        [command]
        exec = ["sh", "-c", """
            echo > @/in; while [ ! -e @/go ]; do sleep 0.02; done
            echo first; while :; do sleep 0.02; done"""]
        [log]
        file = "@/in/the.log"
    "#;
    let node = Node::start("file", &[("a", unit)]);
    node.until("what is in the way", |node| !node.read("in").is_empty());
    fs::write(node.dir.join("go"), "").unwrap();
    node.until_said("its output is not written to its file: exit code 1: ");
    fs::remove_file(node.dir.join("in")).unwrap();
    node.until("another writer", |node| node.dir.join("in/the.log").exists());
}

#[test]
fn the_last_lines_are_in_the_file_when_the_supervisor_has_ended() {
    let unit = r#"
        [command]
        exec = ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"]
        [log]
        file = "@/in/the.log"
    "#;
    let mut node = Node::start("last", &[("a", unit)]);
    node.until("its first line", |node| node.read("in/the.log") == "up\n");
    child::signal(None, node.supervisor.id(), 15).unwrap();
    assert!(node.supervisor.wait().unwrap().success());
    // Between the two its shell may say what became of its sleep.
    let text = node.read("in/the.log");
    assert!(text.starts_with("up\n") && text.ends_with("bye\n"), "{text}");
}
