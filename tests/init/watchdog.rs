//! Who feeds a hardware watchdog, and when nobody does. Its double is a file: a meal is a zero.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::machine::{Machine, Place, can_unshare, children, signal, state, until};
use super::{KILL, SLEEPER};

/// A machine that feeds a watchdog, and that watchdog.
fn feeding(place: &Place, arguments: &[&str]) -> (Machine, PathBuf) {
    let device = place.at("watchdog");
    fs::write(&device, "").unwrap();
    place.node(&format!("[watchdog]\ndevice = \"{}\"\n", device.display()));
    place.unit("sleeper", SLEEPER);
    (Machine::supervise(place, arguments), device)
}

fn meals(device: &Path) -> usize {
    let bytes = fs::read(device).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0), "fed, and not closed: {bytes:?}");
    bytes.len()
}

fn await_meals(device: &Path, least: usize) {
    until("meals", || (meals(device) >= least).then_some(()));
}

#[test]
fn a_watchdog_is_fed_over_the_death_of_the_supervisor_and_closed_at_the_end() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    let (machine, device) = feeding(&place, &[]);
    place.await_ready("sleeper");
    await_meals(&device, 1);
    let old = machine.supervisor();
    signal(old, KILL);
    until("another supervisor", || (machine.supervisor() != old).then_some(()));
    place.await_ready("sleeper");
    await_meals(&device, 3);
    assert_eq!(place.ctl(&["shutdown"]).0, Some(0));
    machine.await_line("all is down");
    until("a clean end", || fs::read(&device).unwrap().ends_with(b"V").then_some(()));
}

#[test]
fn nobody_is_fed_for_who_was_killed_and_does_not_die() {
    if !can_unshare() || !Freezer::can_be_mounted() {
        return;
    }
    let place = Place::new();
    let (machine, device) = feeding(&place, &["--hang-after", "3"]);
    let pid = place.await_ready("sleeper")["pid"].clone();
    let old = machine.supervisor();
    let freezer = Freezer::close(&place, old);
    machine.await_line("hangs: it is killed and replaced");
    machine.await_line("does not die: a watchdog is fed no more");
    assert_eq!(state(old), Some('D'));
    let (last, start) = (meals(&device), Instant::now());
    // A meal is due every 5 seconds.
    until("two missed meals", || (start.elapsed() > Duration::from_secs(11)).then_some(()));
    assert_eq!(meals(&device), last);

    drop(freezer);
    until("its end", || children(machine.init).iter().all(|pid| *pid != old).then_some(()));
    assert_eq!(place.await_ready("sleeper")["pid"], pid);
    await_meals(&device, last + 1);
}

/// The old freezer of cgroups, in which nobody dies of SIGKILL.
struct Freezer {
    dir: PathBuf,
    group: String,
}

impl Freezer {
    /// Runs a script in the freezer, which is mounted for that only.
    fn enter(dir: &Path, script: &str) -> bool {
        let mount = "mkdir -p \"$1\" && mount -t cgroup -o freezer freezer \"$1\" && cd \"$1\"";
        let script = format!("{mount} && {script}");
        let status =
            Command::new("unshare").args(["--mount", "sh", "-c", &script, "sh"]).arg(dir).status();
        status.is_ok_and(|status| status.success())
    }

    fn can_be_mounted() -> bool {
        let can = Self::enter(&Place::new().at("freezer"), "true");
        assert!(can || std::env::var_os("CI").is_none(), "CI has to have a freezer");
        can
    }

    /// From here on that process does nothing, whatever happens to it.
    fn close(place: &Place, pid: u32) -> Self {
        let (dir, group) = (place.at("freezer"), format!("pisup-test-{pid}"));
        let script = format!(
            "mkdir {group} && echo {pid} >{group}/cgroup.procs && \
             echo FROZEN >{group}/freezer.state"
        );
        assert!(Self::enter(&dir, &script));
        Self { dir, group }
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let script = "echo THAWED >GROUP/freezer.state
            for pid in $(cat GROUP/cgroup.procs); do echo $pid >cgroup.procs; done
            for try in $(seq 100); do rmdir GROUP && exit; sleep 0.05; done; exit 1"
            .replace("GROUP", &self.group);
        let is_open = Self::enter(&self.dir, &script);
        assert!(is_open || std::thread::panicking(), "its group stays");
    }
}
