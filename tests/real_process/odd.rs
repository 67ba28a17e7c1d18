//! A hostile world: no cgroups, no standard error, pipes for files, services that lash out.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::*;

const PLAIN: &str = "[command]\nexec = [\"sleep\", \"1000\"]\n";

pub fn without_cgroups_a_unit_is_its_session() {
    run(Command::new("umount").args(["--recursive", "--lazy", "/sys/fs/cgroup"])).expect_code(0);
    let node = Node::with(&[
        (
            "family",
            "[command]\nexec = [\"@double\", \"fork replace @dir/child %pid; wait\", \
             \"await-file @dir/child\", \"fork notify READY=1\", \"wait\"]\n\
             [ready]\nnotify = true\n[restart]\ndelay = \"100ms\"\n",
        ),
        ("plain", PLAIN),
    ]);
    assert!(node.said().contains("no cgroup hierarchy can be written"), "{}", node.said());
    let seen = node.until("family", |seen| {
        seen["state"] == "ready" || seen["notes"].to_string().contains("strangers")
    });
    let main = pid_of(&seen);
    let child: u32 = read("child").trim().parse().unwrap();
    assert!(is_alive(child));
    kill("KILL", main);
    node.until("family", |seen| seen["starts"] == 2);
    until("the child of the last run is gone", || !is_alive(child));
    until("there is a new one", || read("child").trim().parse::<u32>().is_ok_and(is_alive));
    let child = read("child").trim().parse().unwrap();
    node.ctl(&["stop", "family"]).expect_code(0);
    assert!(!is_alive(child));
    node.ready("plain");
}

pub fn a_hybrid_without_version_2_does_as_well() {
    let unmounted = run(Command::new("umount").args(["--lazy", "/sys/fs/cgroup/unified"]));
    if unmounted.code != Some(0) {
        return note("not a hybrid machine");
    }
    let node = Node::with(&[(
        "family",
        "[command]\nexec = [\"@double\", \"fork session; replace @dir/child %pid; wait\", \
         \"await-file @dir/child\", \"fork session; fork notify READY=1; sleep 100\", \"wait\"]\n\
         [ready]\nnotify = true\n[restart]\ndelay = \"100ms\"\n",
    )]);
    let main = node.until("family", |seen| !seen["pid"].is_null());
    until("the child is there", || !read("child").is_empty());
    let child: u32 = read("child").trim().parse().unwrap();
    kill("KILL", pid_of(&main));
    node.until("family", |seen| seen["starts"] == 2);
    until("the child of the last run is gone", || !is_alive(child));
    node.ctl(&["stop", "family"]).expect_code(0);
    until("nobody is left", || crate::again::children(node.pid()).is_empty());
}

pub fn a_service_that_writes_outlives_a_supervisor_and_no_line_is_lost() {
    let mut node = Node::with(&[(
        "writer",
        "[command]\nexec = [\"sh\", \"-c\", \"\"\"\n\
         i=0; while :; do i=$$((i+1)); echo $$i; sleep 0.01; done\"\"\"]\n",
    )]);
    let writer = node.ready("writer");
    until("it has written", || !node.lines("writer").is_empty());
    node.signal("KILL");
    node.wait_end();
    // It writes on, and does not die of a pipe that nobody reads.
    let turns = || -> u64 { proc_status(writer, "voluntary_ctxt_switches").parse().unwrap() };
    let before = turns();
    until("it writes on", || turns() > before + 40);
    node.start();
    assert_eq!(node.ready("writer"), writer);
    let numbers = || -> Vec<u64> {
        node.lines("writer").iter().filter_map(|line| line.parse().ok()).collect()
    };
    until("it goes on", || numbers().len() > 100);
    let numbers = numbers();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "{numbers:?}");
}

pub fn nobody_reads_its_standard_error() {
    let mut node = Node::new();
    let crashing = "[command]\nexec = [\"false\"]\n[ready]\nnotify = true\n\
                    [restart]\ndelay = \"100ms\"\nmax-delay = \"100ms\"\n";
    for number in 0..8 {
        node.unit(&format!("crashing-{number}"), crashing);
    }
    node.unit("calm", PLAIN);
    node.start_by(&[], |command| {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
    });
    let calm = node.ready("calm");
    // Far more than a pipe of 64 KiB takes.
    until("much was said", || {
        let starts = (0..8).map(|n| node.of(&format!("crashing-{n}"))["starts"].as_u64());
        starts.flatten().sum::<u64>() > 400
    });
    assert_eq!(node.ready("calm"), calm);
    node.ctl(&["stop", "calm"]).expect_code(0);
    node.ctl(&["shutdown"]).expect_code(0);
    assert_eq!(node.wait_end(), Some(0), "and it ends all the same");
}

pub fn it_starts_without_standard_descriptors() {
    let mut node = Node::new();
    node.unit("plain", PLAIN);
    node.start_by(&["sh", "-c", "exec 0<&- 1>&- 2>&-; exec \"$@\"", "sh"], |_| {});
    has_open(node.ready("plain"), &[0, 1, 2]);
    let own = descriptors(node.pid());
    for (number, what) in own.iter().take(3) {
        assert!(what == "/dev/null", "{number} is {what}");
    }
}

pub fn it_can_be_the_first_process_of_a_namespace() {
    let mut node = Node::new();
    node.unit(
        "parent",
        "[command]\nexec = [\"@double\", \"fork session; fork sleep 30\", \"notify READY=1\", \
         \"wait\"]\n[ready]\nnotify = true\n",
    );
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
    node.start_by(&unshare, |_| {});
    node.until_state("parent", "ready");
    let status = node.status();
    assert_eq!(status["supervisor"]["pid"], 1);
    let outer: u32 = crate::again::children(node.pid())[0].parse().unwrap();
    until("orphans are reaped", || crate::again::children(outer).len() == 1);
    node.ctl(&["restart", "parent"]).expect_code(0);
    kill("TERM", outer);
    assert_eq!(node.wait_end(), Some(0));
}

pub fn what_is_no_file_does_not_hold_it_up() {
    let fifo = |name: &str| drop(run(Command::new("mkfifo").arg(path(name))).expect_code(0));
    let node = Node::with(&[
        ("calm", PLAIN),
        ("by-fifo", &format!("{PLAIN}env-file = [\"@dir/env\"]\n[restart]\ndelay = \"100ms\"\n")),
        ("by-zero", &format!("{PLAIN}env-file = [\"/dev/zero\"]\n")),
        ("by-folder", &format!("{PLAIN}env-file = [\"/etc\"]\n")),
        ("exporting", &format!("{PLAIN}[exports]\nfile = \"@dir/values\"\nkeep = true\n")),
        ("ready-by-fifo", &format!("{PLAIN}[ready]\nfile = \"@dir/ready\"\n")),
    ]);
    let calm = node.ready("calm");
    for name in ["env", "values", "ready"] {
        fifo(name);
    }
    for unit in ["by-fifo", "by-zero", "by-folder"] {
        let seen = node.until(unit, |seen| {
            let cause = seen["cause"].as_str().unwrap_or_default();
            seen["state"] == "backoff" && cause.starts_with("env-file: ")
        });
        assert!(seen["failures"].as_u64() > Some(0));
    }
    node.ready("exporting");
    fifo("config/units/pipe.toml");
    let start = Instant::now();
    let refused = node.ctl(&["reload-config"]).expect_code(1);
    assert!(refused.err.contains("pipe.toml"), "{refused:?}");
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(node.ready("calm"), calm);
    // The value becomes a file, and is read.
    fs::remove_file(path("values")).unwrap();
    write("values", "A=1\n");
    node.until("exporting", |seen| seen["exports"]["A"] == "1");
}

pub fn services_that_lash_out_hit_nobody_else() {
    let node = Node::with(&[
        ("calm", PLAIN),
        (
            "suicidal",
            "[command]\nexec = [\"sh\", \"-c\", \"kill -9 0\"]\n[restart]\npolicy = \"never\"\n",
        ),
        ("closing", "[command]\nexec = [\"sh\", \"-c\", \"exec 0<&- 1>&- 2>&-; sleep 1000\"]\n"),
        (
            "removing",
            "[command]\nexec = [\"@double\", \"remove @dir/run/notify/removing\", \
             \"await-file @dir/go\", \"exit 1\"]\n[ready]\nnotify = true\n\
             [restart]\ndelay = \"100ms\"\n",
        ),
    ]);
    let calm = node.ready("calm");
    node.until("suicidal", |seen| seen["exit"]["signal"] == "KILL");
    node.ready("closing");
    write("go", "");
    node.until("removing", |seen| seen["starts"].as_u64() > Some(2));
    assert_eq!(node.ready("calm"), calm);
}

pub fn a_name_that_is_too_long_for_a_socket_is_said_to_be() {
    let name = "n".repeat(63);
    let unit = "[command]\nexec = [\"sleep\", \"1000\"]\n[ready]\nnotify = true\n";
    let node = Node::with(&[(name.as_str(), unit), ("calm", PLAIN)]);
    assert!(path("run/notify").join(&name).as_os_str().len() > 108);
    let seen = node.until_state(&name, "backoff");
    assert!(seen["cause"].as_str().unwrap().contains("name too long"), "{seen:#}");
    node.ready("calm");
}

pub fn two_supervisors_live_side_by_side() {
    let node = Node::with(&[("same", PLAIN)]);
    let first = node.ready("same");
    let mut other = Command::new(env!("CARGO_BIN_EXE_pisup"));
    other.arg("--config").arg(path("config"));
    let places = ["--run", "other-run", "--state", "other-state"];
    for pair in places.chunks(2) {
        other.arg(pair[0]).arg(path(pair[1]));
    }
    let mut other = other.arg("supervise").stderr(Stdio::null()).spawn().unwrap();
    until("the other one is up", || path("other-run/ctl.sock").exists());
    let stop = |words: &[&str]| {
        let mut ctl = Command::new(env!("CARGO_BIN_EXE_pisup"));
        run(ctl.arg("--run").arg(path("other-run")).arg("ctl").args(words)).expect_code(0)
    };
    stop(&["restart", "same"]);
    stop(&["stop", "same"]);
    assert_eq!(node.ready("same"), first);
    stop(&["shutdown"]);
    assert!(other.wait().unwrap().success());
    assert_eq!(node.ready("same"), first);
}

pub fn a_signal_without_a_name_is_refused_or_replaced() {
    let node = Node::with(&[(
        "odd",
        "[command]\nexec = [\"sleep\", \"1000\"]\n\
         [stop]\nsignal = 40\ntimeout = \"1h\"\n[reload]\nsignal = 41\n",
    )]);
    node.ready("odd");
    node.ctl(&["kill", "40", "odd"]).expect_code(2);
    node.ctl(&["reload", "odd"]).expect_code(1);
    node.ctl(&["stop", "odd"]).expect_code(0);
    let seen = node.of("odd");
    assert!(seen["notes"].to_string().contains("signal 40 cannot be sent"), "{seen:#}");
}

pub fn a_network_that_comes_late_is_waited_for() {
    let mut node = Node::new();
    write("config/node.toml", "role = \"master\"\n");
    let unit = "[command]\nexec = [\"sleep\", \"1000\"]\nenv = { AT = \"${node.address}\" }\n";
    node.unit("there", unit);
    let network = std::thread::spawn(|| {
        until("it says what it waits for", || {
            read("supervisor.log").contains("waiting for the network")
        });
        for line in [
            "link add eth0 type veth peer name far",
            "addr add 10.9.8.7/24 dev eth0",
            "link set far up",
            "link set eth0 up",
            "route add default via 10.9.8.1",
        ] {
            let done = run(Command::new("ip").args(line.split(' ')));
            done.expect_code(0);
        }
    });
    node.start();
    network.join().unwrap();
    let pid = node.ready("there");
    let env = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(env.contains("AT=10.9.8.7"), "{env}");
}
