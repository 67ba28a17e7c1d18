//! Groups on the machine's own hierarchies: entered before exec, left by nobody, removed again.

use std::path::{Path, PathBuf};

use pisup::sys::cgroup::{Cgroups, Group, Limits};
use pisup::sys::poll::{Interest, Poll};
use pisup::sys::spawn::begin;
use rustix::fs::inotify;

use super::*;

/// A supervisor's groups in a run directory of their own, removed in the end.
struct Here {
    cgroups: Cgroups,
    run: PathBuf,
    units: Vec<&'static str>,
}

impl Here {
    /// `None` where no group can be made; says so.
    fn new(test: &str, is_v2_hidden: bool) -> Option<Self> {
        let run = std::env::temp_dir().join(format!("pisup-{test}-{}", std::process::id()));
        fs::create_dir_all(&run).unwrap();
        let mut mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        if is_v2_hidden {
            mounts = mounts.replace(" cgroup2 ", " hidden ");
        }
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let (cgroups, _) = Cgroups::among(&mounts, &own, &run, &[]);
        child::become_subreaper().unwrap();
        let here = Self { cgroups, run, units: Vec::new() };
        if here.cgroups.kind() == "none" {
            let version = if is_v2_hidden { "1" } else { "1 or 2" };
            skipped(test, &format!("needs root and a writable cgroup of version {version}"));
            return None;
        }
        Some(here)
    }

    fn make(&mut self, unit: &'static str) -> Group {
        self.units.push(unit);
        let (group, warnings) = self.cgroups.make(unit, &Limits::default());
        assert_eq!(warnings, Vec::<String>::new());
        assert!(group.is_tracked());
        group
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        // A test that has failed halfway leaves nothing behind either.
        for group in self.units.iter().filter_map(|unit| self.cgroups.find(unit)) {
            if group.kill().is_ok() {
                until_empty(&group);
            }
            let _ = group.remove();
        }
        self.cgroups.remove();
        fs::remove_dir(&self.run).unwrap();
    }
}

/// Both ways to keep a group, one after the other, or as many as this machine has.
fn both(test: &str) -> impl Iterator<Item = Here> {
    [false, true].into_iter().filter_map(move |is_v2_hidden| Here::new(test, is_v2_hidden))
}

/// A child that has daemonised twice over and forks on; returns once it does.
fn start_escapist(group: &Group) -> u32 {
    let script = "setsid sh -c 'setsid sh -c \"sleep 1000 & exec sleep 1001\" & \
                  while :; do sleep 1002 & echo up; sleep 0.1; done' & exec sleep 1003";
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut request = shell(script);
    request.stdout = Some(writer.as_fd());
    request.cgroup = Some(group);
    let spawned = spawn(&request).unwrap();
    assert_eq!(spawned.warnings, Vec::<String>::new());
    fs::File::from(reader).read_exact(&mut [0; 6]).unwrap();
    spawned.pid
}

/// Reaps until the group is empty, woken by nothing but deaths of its members.
fn until_empty(group: &Group) {
    let start = Instant::now();
    while !group.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "left: {:?}", group.members());
        let Some(pid) = group.members().first().copied() else { continue };
        if let Some(pidfd) = child::pidfd(pid) {
            until_readable(pidfd);
        }
        while child::reap(64).has_more {}
    }
    while child::reap(64).has_more {}
}

#[test]
fn a_child_is_in_its_group_before_it_runs() {
    let _alone = alone();
    for mut here in both("enter") {
        let group = here.make("a-unit");
        let mut request = shell("cat /proc/self/cgroup");
        request.cgroup = Some(&group);
        let (text, ..) = run(request);
        assert!(text.lines().any(|line| line.ends_with("/a-unit")), "{text}");
        assert!(group.is_empty() && group.members().is_empty());
        group.remove().unwrap();
        assert!(!group.path().unwrap().exists());
    }
}

#[test]
fn kill_reaches_those_that_have_daemonised() {
    let _alone = alone();
    for mut here in both("kill") {
        for is_one_by_one in [false, true] {
            let group = here.make("escapist");
            let pid = start_escapist(&group);
            let members = group.members();
            assert!(members.len() >= 4 && members.contains(&pid), "{members:?}");
            assert!(members.iter().all(|member| group.contains(*member)));
            assert!(!group.contains(std::process::id()) && !group.is_empty());
            let kept = group.remove().unwrap_err();
            assert!(kept.ends_with("/escapist: device or resource busy"), "{kept}");
            if is_one_by_one {
                group.kill_one_by_one()
            } else {
                group.kill().unwrap()
            }
            until_empty(&group);
            assert_eq!(child::reap(64), child::Reaped::default(), "all are dead and reaped");
            group.remove().unwrap();
        }
    }
}

#[test]
fn a_signal_reaches_every_member() {
    let _alone = alone();
    for mut here in both("signal") {
        let group = here.make("many");
        let mut request = shell("setsid sleep 1000 & sleep 1001 & echo up; exec sleep 1002");
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        request.stdout = Some(writer.as_fd());
        request.cgroup = Some(&group);
        spawn(&request).unwrap();
        fs::File::from(reader).read_exact(&mut [0; 3]).unwrap();
        assert_eq!(group.signal(15), 3);
        until_empty(&group);
        assert_eq!(group.signal(15), 0);
        group.remove().unwrap();
    }
}

#[test]
fn the_events_file_tells_of_emptiness() {
    let _alone = alone();
    let Some(mut here) = Here::new("events", false) else { return };
    let group = here.make("brief");
    let Some(emptied) = group.emptied() else {
        group.remove().unwrap();
        return skipped("events", "needs cgroup version 2");
    };
    let (mut turns, mut told) = (Poll::new().unwrap(), Vec::new());
    turns.add(emptied.as_fd(), 7, Interest::Nothing).unwrap();
    let mut request = shell("exit 5");
    request.cgroup = Some(&group);
    let pid = spawn(&request).unwrap().pid;
    while !group.is_empty() {
        turns.wait(Some(60_000), &mut told).unwrap();
        assert!(told.iter().any(|ready| ready.token == 7 && ready.hangup), "nothing came");
        emptied.look();
    }
    emptied.look();
    turns.wait(Some(0), &mut told).unwrap();
    assert_eq!(told, [], "told once");
    assert_eq!(wait_for(pid), Exit::Code(5));
    group.remove().unwrap();
}

#[test]
fn limits_are_written_lifted_and_told_once_when_missing() {
    let _alone = alone();
    for mut here in both("limits") {
        let limits = Limits {
            memory_max: Some(64 << 20),
            cpu_weight: Some(50),
            io_weight: Some(200),
            pids_max: Some(7),
            ..Limits::default()
        };
        here.units.push("limited");
        let (group, warnings) = here.cgroups.make("limited", &limits);
        let (_, again) = here.cgroups.make("limited", &limits);
        let controllers = here.cgroups.controllers();
        let has = |name: &str| controllers.contains(&name);
        let absent = [has("memory"), has("cpu"), has("io") || has("blkio"), has("pids")]
            .iter()
            .filter(|has| !**has)
            .count();
        let told =
            |all: &[String]| all.iter().filter(|text| text.contains("not available")).count();
        assert_eq!((told(&warnings), told(&again)), (absent, 0), "{warnings:?} {again:?}");
        let request = |group| {
            let mut request =
                shell("i=0; while [ $i -lt 20 ]; do sleep 0 & i=$((i+1)); done; wait");
            request.cgroup = Some(group);
            request
        };
        if has("pids") {
            assert_eq!(run(request(&group)).1, Exit::Code(2), "cannot fork");
        } else {
            skipped("pids-max", "no pids controller");
        }
        if has("memory") {
            assert!(group.memory_bytes().is_some());
        }
        assert_eq!(here.cgroups.find("never"), None);
        assert_eq!(here.cgroups.find("limited").unwrap().path(), group.path());
        let (same, warnings) = here.cgroups.make("limited", &Limits::default());
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(same.path(), group.path());
        assert_eq!(run(request(&same)).1, Exit::Code(0), "lifted");
        until_empty(&group);
        // In each hierarchy that carried a limit.
        here.cgroups.make("limited", &limits).0.remove().unwrap();
    }
}

#[test]
fn a_group_that_vanished_is_a_warning() {
    let _alone = alone();
    for mut here in both("vanished") {
        let group = here.make("gone");
        group.remove().unwrap();
        let mut request = shell("exit 6");
        request.cgroup = Some(&group);
        let (_, exit, spawned) = run(request);
        assert_eq!(exit, Exit::Code(6));
        let path = group.path().unwrap().display().to_string();
        assert!(spawned.warnings[0].starts_with(&format!("cannot enter cgroup {path}: ")));
        let mut request = shell("exit 6");
        request.cgroup = Some(&group);
        request.needs_cgroup = true;
        let text = fails(&request).to_string();
        assert!(text.starts_with(&format!("entering cgroup {path}: no such file")), "{text}");
        assert!(group.is_empty());
        group.remove().unwrap();
        group.kill().unwrap();
    }
}

#[test]
fn a_door_that_is_shut_is_open_for_the_next_run() {
    let _alone = alone();
    let Some(mut here) = Here::new("shut", false) else { return };
    let group = here.make("delegate");
    let control = group.path().unwrap().join("cgroup.subtree_control");
    // Any controller will do; version 2 then wants no process beside the groups below.
    let offered = fs::read_to_string(group.path().unwrap().join("cgroup.controllers"));
    let Some(name) = offered.unwrap_or_default().split_whitespace().next().map(str::to_owned)
    else {
        group.remove().unwrap();
        return skipped("shut", "needs a controller of cgroup version 2");
    };
    fs::write(&control, format!("+{name}")).unwrap();
    let mut request = shell("exit 6");
    request.cgroup = Some(&group);
    request.needs_cgroup = true;
    let text = fails(&request).to_string();
    assert!(text.ends_with("device or resource busy"), "{text}");
    let group = here.make("delegate");
    let request = Request { cgroup: Some(&group), needs_cgroup: true, ..shell("exit 6") };
    assert_eq!(run(request).1, Exit::Code(6));
    group.remove().unwrap();
}

#[test]
fn a_child_that_never_executes_is_given_up() {
    let _alone = alone();
    let Some(mut here) = Here::new("stuck", false) else { return };
    let group = here.make("frozen");
    let switch = group.path().unwrap().join("cgroup.freeze");
    if !switch.exists() {
        group.remove().unwrap();
        return skipped("stuck", "needs the freezer of cgroup version 2");
    }
    fs::write(&switch, "1").unwrap();
    let mut request = shell("exit 0");
    request.cgroup = Some(&group);
    let mut pending = begin(&request).unwrap();
    let pid = pending.pid();
    until_frozen(&group.path().unwrap().join("cgroup.events"));
    assert!(pending.take().is_none());
    let error = pending.abandon(Duration::from_secs(10));
    assert!(error.is_transient());
    let text = "sh: could not be executed within 10s; is it, or /, on a dead file system?";
    assert_eq!(error.to_string(), text);
    assert_eq!(wait_for(pid), Exit::Signal(9));
    // The next run of the unit finds it thawed.
    let group = here.make("frozen");
    let mut request = shell("exit 0");
    request.cgroup = Some(&group);
    assert_eq!(run(request).1, Exit::Code(0));
    group.remove().unwrap();
}

fn until_frozen(events: &Path) {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, events, inotify::WatchFlags::MODIFY).unwrap();
    let is_frozen = || fs::read_to_string(events).unwrap();
    while !(is_frozen().contains("frozen 1") && is_frozen().contains("populated 1")) {
        until_readable(&watch);
        rustix::io::read(&watch, &mut [0_u8; 1024]).unwrap();
    }
}

#[test]
fn groups_below_are_found_killed_and_removed() {
    let _alone = alone();
    for mut here in both("below") {
        let group = here.make("delegate");
        let below = group.path().unwrap().join("pod").join("container");
        fs::create_dir_all(&below).unwrap();
        let script = format!("echo 0 > {}/cgroup.procs; echo up; exec sleep 1000", below.display());
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut request = shell(&script);
        request.stdout = Some(writer.as_fd());
        request.cgroup = Some(&group);
        let pid = spawn(&request).unwrap().pid;
        fs::File::from(reader).read_exact(&mut [0; 3]).unwrap();
        assert_eq!(group.members(), [pid]);
        assert!(group.contains(pid) && !group.is_empty());
        group.kill().unwrap();
        assert_eq!(wait_for(pid), Exit::Signal(9));
        until_empty(&group);
        group.remove().unwrap();
        assert!(!below.exists());
    }
}
