//! Starved of descriptors, processes, memory and disk, or flooded: nothing stops, it is told, and
//! all comes back when that ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::again::children;
use crate::harness::*;

const PLAIN: &str = "[command]\nexec = [\"sleep\", \"1000\"]\n";

/// A service whose every start needs a descriptor, a process and a file in the run directory.
const NEEDY: &str = "[command]\nexec = [\"@double\", \"notify READY=1\", \"wait\"]\n\
                     [ready]\nnotify = true\n[restart]\ndelay = \"100ms\"\nmax-delay = \"500ms\"\n";

/// Waits as long as it gets on.
fn while_it_gets_on(what: &str, mut progress: impl FnMut() -> Option<u64>) {
    let (mut last, mut since) = (0, Instant::now());
    while let Some(now) = progress() {
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < Duration::from_secs(45), "{what} stands still at {now}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn mebibytes(node: &Node, key: &str) -> u64 {
    let kib: u64 = proc_status(node.pid(), key).trim_end_matches(" kB").parse().unwrap();
    kib / 1024
}

fn shell(script: &str) -> Ended {
    run(Command::new("sh").args(["-c", script]).current_dir(folder()))
}

/// Leaves a supervisor so many descriptors beside those that it has.
fn leave_descriptors(node: &Node, room: usize) {
    let open = descriptors(node.pid());
    let mut free = 0;
    let limit = (0..).find(|number| {
        let is_enough = free == room;
        free += usize::from(open.iter().all(|(known, _)| known != number));
        is_enough
    });
    set_descriptors(node, limit.unwrap());
}

fn set_descriptors(node: &Node, limit: i32) {
    let pid = node.pid().to_string();
    let limit = format!("--nofile={limit}:1024");
    run(Command::new("prlimit").args(["--pid", &pid, &limit])).expect_code(0);
}

pub fn without_descriptors_nothing_stops_and_all_comes_back() {
    let mut node = Node::with(&[("calm", PLAIN), ("needy", NEEDY)]);
    let (calm, needy) = (node.ready("calm"), node.ready("needy"));
    let before = descriptors(node.pid()).len();
    until("no client is left", || descriptors(node.pid()).len() <= before);
    // One for a client, and none for a start.
    leave_descriptors(&node, 1);
    kill("KILL", needy);
    node.until("needy", |seen| {
        seen["cause"].as_str().unwrap_or_default().contains("too many open files")
    });
    assert_eq!(node.ready("calm"), calm);
    until("no client is left", || descriptors(node.pid()).len() < before);
    // And none at all.
    leave_descriptors(&node, 0);
    let mut waiting = node.ctl_waiting(&["status"]);
    until("it says so", || node.said().contains("too many open files"));
    assert_eq!(node.ended(), None);
    assert!(is_alive(calm));
    set_descriptors(&node, 1024);
    assert!(waiting.wait().unwrap().success(), "who waited is served");
    node.ready("needy");
    assert_eq!(node.ready("calm"), calm);
}

/// A control group of this test with that controller, into which a supervisor is started.
fn group_with(controller: &str) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let marker = folder().file_name().unwrap().to_str().unwrap();
    let marker: String =
        marker.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_v2 = names.is_empty();
        if !is_v2 && !names.split(',').any(|name| name == controller) {
            return None;
        }
        let root = if is_v2 {
            PathBuf::from("/sys/fs/cgroup")
        } else {
            PathBuf::from("/sys/fs/cgroup").join(names)
        };
        let parent = root.join(path.trim_start_matches('/'));
        let group = parent.join(format!("{marker}-{controller}"));
        if is_v2 {
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        fs::create_dir(&group).ok()?;
        let knob = match (controller, is_v2) {
            ("memory", false) => "memory.limit_in_bytes",
            ("memory", true) => "memory.max",
            _ => "pids.max",
        };
        let knob = group.join(knob);
        if !knob.exists() {
            let _ = fs::remove_dir(&group);
            return None;
        }
        Some(knob)
    })
}

fn start_in(node: &mut Node, knob: &Path) {
    let procs = knob.with_file_name("cgroup.procs");
    let script = format!("echo $$ >{} && exec \"$@\"", procs.display());
    node.start_by(&["sh", "-c", &script, "sh"], |_| {});
}

pub fn without_processes_nothing_stops_and_all_comes_back() {
    let Some(most) = group_with("pids") else {
        return note("skipped: no pids controller here");
    };
    let mut node = Node::new();
    node.unit("calm", PLAIN);
    node.unit("needy", NEEDY);
    start_in(&mut node, &most);
    let (calm, needy) = (node.ready("calm"), node.ready("needy"));
    fs::write(&most, "1").unwrap();
    kill("KILL", needy);
    node.until("needy", |seen| seen.to_string().contains("the limit of processes is reached"));
    assert_eq!(node.ready("calm"), calm);
    fs::write(&most, "max").unwrap();
    node.ready("needy");
    assert_eq!(node.ready("calm"), calm);
    node.ctl(&["shutdown"]).expect_code(0);
    assert_eq!(node.wait_end(), Some(0));
}

pub fn little_memory_is_enough_whatever_is_asked_and_written() {
    let Some(most) = group_with("memory") else {
        return note("skipped: no memory controller here");
    };
    let mut node = Node::new();
    node.unit("calm", PLAIN);
    node.unit("spam", "[command]\nexec = [\"sh\", \"-c\", \"yes\"]\n[log]\nring = \"1M\"\n");
    start_in(&mut node, &most);
    fs::write(&most, (24 << 20).to_string()).unwrap();
    let (calm, spam) = (node.ready("calm"), node.ready("spam"));
    let mut deaf: Vec<Wire> = (0..40).map(|_| Wire::of(&node)).collect();
    for wire in &mut deaf {
        wire.say(b"{\"v\":1,\"do\":\"logs\",\"follow\":true}\n");
    }
    node.until("spam", |seen| seen["log_dropped"].as_u64() > Some(2_000_000));
    assert_eq!(node.ended(), None);
    assert_eq!((node.ready("calm"), node.ready("spam")), (calm, spam));
    note(&format!("at most {} MiB of 24", mebibytes(&node, "VmHWM")));
    drop(deaf);
    node.ctl(&["stop", "spam"]).expect_code(0);
    node.ctl(&["shutdown"]).expect_code(0);
    assert_eq!(node.wait_end(), Some(0));
}

pub fn a_full_run_directory_stops_nothing_and_is_told() {
    fs::create_dir(path("run")).unwrap();
    let room = "mount -t tmpfs -o size=64k,nr_inodes=24,mode=755 pisup-run run";
    shell(room).expect_code(0);
    let node = Node::with(&[("calm", PLAIN), ("needy", NEEDY)]);
    let calm = node.ready("calm");
    node.ready("needy");
    // Its own socket is out of the way first, or its place is free for the next one.
    node.ctl(&["stop", "needy"]).expect_code(0);
    shell("i=0; while : 2>/dev/null >run/fill$i; do i=$((i+1)); done; exit 0");
    let refused = node.ctl(&["start", "needy"]).expect_code(1);
    assert!(refused.err.contains("no space left on device"), "{refused:?}");
    assert_eq!(node.ready("calm"), calm);
    shell("rm run/fill*").expect_code(0);
    node.ready("needy");
    assert_eq!(node.ready("calm"), calm);
}

pub fn a_full_log_disk_stops_nothing_and_is_told() {
    fs::create_dir(path("log")).unwrap();
    shell("mount -t tmpfs -o size=32k pisup-log log").expect_code(0);
    let mut node = Node::new();
    node.unit(
        "writer",
        "[command]\nexec = [\"@double\", \"spam 20000\", \"await-file @dir/go\", \
         \"spam 20000\", \"say behind all that\", \"notify READY=1\", \"await-file @dir/again\", \
         \"say and again\", \"wait\"]\n[ready]\nnotify = true\n[log]\nfile = \"@dir/log/x.log\"\n\
         rotate-size = \"100M\"\n",
    );
    node.unit("calm", PLAIN);
    node.start();
    let calm = node.ready("calm");
    until("it is told", || node.said().contains("no space left on device"));
    write("go", "");
    let writer = node.ready("writer");
    assert!(node.lines("writer").contains(&"behind all that".to_owned()), "memory has it");
    shell("mount -o remount,size=8m log").expect_code(0);
    let has = |text: &str| read("log/x.log").lines().any(|line| line == text);
    // What is still in the pipe is written first.
    until("it is written again", || fs::metadata(path("log/x.log")).unwrap().len() > 33_000);
    write("again", "");
    until("the file has what came last", || has("and again"));
    assert_eq!((node.ready("calm"), node.ready("writer")), (calm, writer));
}

pub fn a_root_that_is_read_only_stops_nothing_and_is_told() {
    fs::create_dir(path("state")).unwrap();
    shell("mount -t tmpfs -o ro,mode=755 pisup-state state").expect_code(0);
    shell("mount -o remount,bind,ro /").expect_code(0);
    let node = Node::with(&[
        (
            "exporting",
            "[command]\nexec = [\"sh\", \"-c\", \"echo A=7 >@dir/values; exec sleep 1000\"]\n\
             [exports]\nfile = \"@dir/values\"\nkeep = true\nrequire = [\"A\"]\n",
        ),
        (
            "user",
            "[unit]\nrequires = [\"exporting\"]\n[command]\n\
             exec = [\"sleep\", \"100${exporting.A}\"]\n",
        ),
    ]);
    let user = node.ready("user");
    node.until("exporting", |seen| seen["notes"].to_string().contains("read-only file system"));
    shell("mount -o remount,rw state").expect_code(0);
    assert_eq!(node.ready("user"), user);
    node.ctl(&["restart", "exporting"]).expect_code(0);
    until("it is kept again", || path("state/exports/exporting").exists());
}

pub fn half_a_request_from_two_hundred_keeps_nobody_out() {
    let node = Node::with(&[("calm", PLAIN)]);
    let calm = node.ready("calm");
    let mut slow: Vec<Wire> = (0..200).map(|_| Wire::of(&node)).collect();
    // Each of them a byte more, and another one of them the next: as slow as one likes.
    let request = b"{\"v\":1,\"do\":\"status\"}\n";
    for byte in &request[..request.len() - 1] {
        slow.iter_mut().for_each(|wire| wire.say(&[*byte]));
        assert_eq!(node.ready("calm"), calm);
    }
    let last = slow.last_mut().unwrap();
    last.say(b"\n");
    assert_eq!(last.answer()[0]["is"], "status", "the youngest got to its end");
    node.ctl(&["restart", "calm"]).expect_code(0);
    assert!(mebibytes(&node, "VmHWM") < 40);
}

pub fn a_gigabyte_in_one_line_is_kept_in_bounds() {
    let node = Node::with(&[
        ("calm", PLAIN),
        (
            "endless",
            "[command]\nexec = [\"sh\", \"-c\", \"head -c 1073741824 /dev/zero | tr '\\\\0' x; \
             echo; echo end; exec sleep 1000\"]\n[ready]\nlog = \"end\"\ntimeout = \"never\"\n",
        ),
    ]);
    let calm = node.ready("calm");
    let start = Instant::now();
    while_it_gets_on("the line", || {
        let seen = node.of("endless");
        (seen["state"] != "ready").then(|| seen["log_dropped"].as_u64().unwrap())
    });
    let (took, most) = (start.elapsed().as_secs_f32(), mebibytes(&node, "VmHWM"));
    note(&format!("1 GiB in one line took {took:.1} s, and {most} MiB of memory at most"));
    assert!(most < 40, "{most} MiB");
    assert_eq!(node.ready("calm"), calm);
    assert!(node.lines("endless").contains(&"end".to_owned()));
}

pub fn ten_thousand_orphans_are_reaped() {
    let node = Node::with(&[
        ("calm", PLAIN),
        (
            "parent",
            "[command]\nexec = [\"sh\", \"-c\", \"i=0; while [ $$i -lt 10000 ]; do (: &); \
             i=$$((i+1)); [ $$((i%100)) = 0 ] && echo $$i >@dir/count; done; echo end; \
             exec sleep 1000\"]\n[ready]\nlog = \"end\"\ntimeout = \"never\"\n",
        ),
    ]);
    let calm = node.ready("calm");
    while_it_gets_on("the parent", || {
        let is_there = node.of("parent")["state"] == "ready";
        (!is_there).then(|| read("count").trim().parse().unwrap_or(0))
    });
    let parent = node.ready("parent");
    until("only the services are left", || {
        let mut left: Vec<u32> =
            children(node.pid()).iter().map(|pid| pid.parse().unwrap()).collect();
        left.sort_unstable();
        let mut both = [calm, parent];
        both.sort_unstable();
        left == both
    });
    assert!(mebibytes(&node, "VmHWM") < 40);
}
