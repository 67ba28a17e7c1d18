//! Listening sockets that outlive the services that are given them.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use crate::harness::*;

/// Asks whoever listens for its process id; waits as long as nobody answers.
fn ask(file: &str) -> u32 {
    let mut stream = UnixStream::connect(path(file)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(45))).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.parse().unwrap_or_else(|_| panic!("no answer: {text:?}"))
}

fn serving(more: &str) -> String {
    format!(
        "[socket]\nlisten = [\"@dir/a.sock\"]\n{more}[command]\nexec = [\"@double\", \
         \"serve 3\", \"notify READY=1\", \"wait\"]\n[ready]\nnotify = true\n\
         [restart]\ndelay = \"100ms\"\n"
    )
}

pub fn the_service_is_handed_its_sockets_by_number_and_name() {
    let node = Node::with(&[(
        "served",
        "[socket]\nlisten = [\"@dir/a.sock\", \"tcp:127.0.0.1:7200\"]\nmode = \"0600\"\n\
         [command]\nexec = [\"@double\", \"serve 3\", \"notify READY=1\", \"wait\"]\n\
         [ready]\nnotify = true\n",
    )]);
    let pid = node.ready("served");
    let env = environment(pid);
    for line in [format!("LISTEN_PID={pid}"), "LISTEN_FDS=2".into()] {
        assert!(env.contains(&line), "{env:?}");
    }
    assert!(env.contains(&"LISTEN_FDNAMES=served:served".to_owned()), "{env:?}");
    assert_eq!(ask("a.sock"), pid);
    let mode = std::fs::metadata(path("a.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::net::TcpStream::connect("127.0.0.1:7200").unwrap();
}

pub fn who_comes_during_a_restart_just_waits() {
    let node = Node::with(&[(
        "slow",
        "[socket]\nlisten = [\"@dir/a.sock\"]\n[command]\nexec = [\"@double\", \"trap TERM\", \
         \"notify READY=1\", \"await\", \"await-file @dir/go\", \"exit 0\"]\n\
         [ready]\nnotify = true\n",
    )]);
    node.ready("slow");
    node.unit("slow", &serving(""));
    // The old one will not answer, and the new one cannot yet be there.
    let restart = node.ctl_waiting(&["reload-config"]);
    node.until_state("slow", "stopping");
    let client = std::thread::spawn(|| ask("a.sock"));
    write("go", "");
    assert!(restart.wait_with_output().unwrap().status.success());
    assert_eq!(client.join().unwrap(), node.ready("slow"));
}

pub fn sockets_survive_crashes_and_stops() {
    let node = Node::with(&[("served", &serving(""))]);
    let mut pid = node.ready("served");
    for _ in 0..5 {
        kill("KILL", pid);
        // A thread of one that is dying may still take a connection.
        until("all of it is gone", || !path(&format!("/proc/{pid}")).exists());
        let answer = ask("a.sock");
        assert_ne!(answer, pid);
        pid = node.ready("served");
        assert_eq!(answer, pid);
    }
    node.ctl(&["stop", "served"]).expect_code(0);
    let client = std::thread::spawn(|| ask("a.sock"));
    node.ctl(&["start", "served"]).expect_code(0);
    assert_eq!(client.join().unwrap(), node.ready("served"));
}

pub fn sockets_are_there_before_the_service() {
    let node = Node::with(&[(
        "late",
        "[wait]\npath = \"@dir/go\"\n[socket]\nlisten = [\"@dir/a.sock\"]\n\
         [command]\nexec = [\"@double\", \"serve 3\", \"wait\"]\n",
    )]);
    node.until_state("late", "waiting");
    let client = std::thread::spawn(|| ask("a.sock"));
    write("go", "");
    assert_eq!(client.join().unwrap(), node.ready("late"));
}

pub fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    drop(UnixListener::bind(path("a.sock")).unwrap());
    let live = UnixListener::bind(path("live.sock")).unwrap();
    write("file", "not a socket");
    let unit = |file: &str| {
        format!(
            "[socket]\nlisten = [\"@dir/{file}\"]\n[command]\nexec = [\"@double\", \"serve 3\", \
             \"wait\"]\n[restart]\ndelay = \"100ms\"\n"
        )
    };
    let node = Node::with(&[
        ("stale", &serving("")),
        ("rival", &unit("live.sock")),
        ("blocked", &unit("file")),
        ("nowhere", &unit("no/such/folder/a.sock")),
    ]);
    assert_eq!(ask("a.sock"), node.ready("stale"));
    for (unit, file) in [("rival", "live.sock"), ("blocked", "file")] {
        let seen = node.until(unit, |seen| seen["failures"].as_u64() > Some(1));
        let told = seen["cause"].to_string() + &seen["notes"].to_string();
        assert!(told.contains(path(file).to_str().unwrap()), "{told}");
    }
    assert_eq!(read("file"), "not a socket");
    // What was in the way goes, and it comes up by itself.
    drop(live);
    node.ready("rival");
    std::fs::remove_file(path("file")).unwrap();
    node.ready("blocked");
    node.ready("nowhere");
    assert!(path("no/such/folder/a.sock").exists(), "folders are made");
}
