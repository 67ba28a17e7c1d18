//! Whatever is said on the control socket: an answer, and nothing moves.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::harness::*;

/// Two units that must not notice anything.
fn calm() -> (Node, [u32; 2]) {
    let node = Node::with(&[
        ("calm", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
        (
            "chatty",
            "[command]\nexec = [\"@double\", \"spam 20000\", \"notify READY=1\", \"wait\"]\n\
             [ready]\nnotify = true\n",
        ),
    ]);
    let pids = [node.ready("calm"), node.ready("chatty")];
    (node, pids)
}

/// The supervisor answers, and its units are who they were.
fn unmoved(node: &Node, pids: [u32; 2]) {
    assert_eq!([node.ready("calm"), node.ready("chatty")], pids);
}

/// A bad request, the exit code it is answered with, and a part of the sentence.
fn bad_lines() -> Vec<(Vec<u8>, u64, &'static str)> {
    let nested = |open: &str, count: usize| open.repeat(count).into_bytes();
    let text: &[(&str, u64, &str)] = &[
        ("", 2, "not understood"),
        ("   ", 2, "not understood"),
        ("status", 2, "a request is one JSON object a line"),
        ("{", 2, "not understood"),
        ("{}", 2, "\"v\", the protocol version, is missing"),
        ("[]", 2, "not understood"),
        ("null", 2, "not understood"),
        ("7", 2, "not understood"),
        ("\"status\"", 2, "not understood"),
        ("{\"v\":1}", 2, "\"do\", the command, is missing"),
        ("{\"v\":2,\"do\":\"status\"}", 2, "protocol version 2 is not spoken here"),
        ("{\"v\":\"1\",\"do\":\"status\"}", 2, "protocol version"),
        ("{\"v\":-1,\"do\":\"status\"}", 2, "protocol version"),
        ("{\"v\":1,\"do\":\"explode\"}", 2, "unknown variant `explode`"),
        ("{\"v\":1,\"do\":null}", 2, "not understood"),
        ("{\"v\":1,\"do\":[\"status\"]}", 2, "not understood"),
        ("{\"v\":1,\"do\":\"status\",\"unit\":7}", 2, "not understood"),
        ("{\"v\":1,\"do\":\"status\",\"unti\":\"calm\"}", 2, "unknown field `unti`"),
        ("{\"v\":1,\"do\":\"status\",\"unit\":\"clam\"}", 4, "did you mean \"calm\"?"),
        ("{\"v\":1,\"do\":\"status\",\"unit\":\"../../etc\"}", 4, "no unit"),
        ("{\"v\":1,\"do\":\"status\",\"unit\":\"\"}", 4, "no unit"),
        ("{\"v\":1,\"do\":\"start\"}", 2, "missing field `units`"),
        ("{\"v\":1,\"do\":\"start\",\"units\":[]}", 2, "name at least one unit"),
        ("{\"v\":1,\"do\":\"start\",\"units\":\"calm\"}", 2, "not understood"),
        ("{\"v\":1,\"do\":\"start\",\"units\":[null]}", 2, "not understood"),
        ("{\"v\":1,\"do\":\"stop\",\"units\":[\"calm\",\"absent\"]}", 4, "no unit \"absent\""),
        ("{\"v\":1,\"do\":\"restart\",\"units\":[\"calm\"],\"dry_run\":1}", 2, "not understood"),
        ("{\"v\":1,\"do\":\"start\",\"units\":[\"calm\"],\"dry_run\":true}", 2, "unknown field"),
        ("{\"v\":1,\"do\":\"logs\",\"n\":-1}", 2, "not understood"),
        ("{\"v\":1,\"do\":\"logs\",\"n\":1e99}", 2, "not understood"),
        ("{\"v\":1,\"do\":\"logs\",\"units\":[\"absent\"],\"follow\":true}", 4, "no unit"),
        ("{\"v\":1,\"do\":\"events\",\"units\":[\"absent\"]}", 4, "no unit"),
        ("{\"v\":1,\"do\":\"why\"}", 2, "missing field `unit`"),
        ("{\"v\":1,\"do\":\"env\",\"unit\":\"absent\"}", 4, "no unit"),
        ("{\"v\":1,\"do\":\"kill\",\"unit\":\"calm\",\"signal\":\"NONE\"}", 2, "no signal"),
        ("{\"v\":1,\"do\":\"kill\",\"unit\":\"calm\",\"signal\":\"0\"}", 2, "no signal"),
        ("{\"v\":1,\"do\":\"kill\",\"unit\":\"calm\",\"signal\":\"65\"}", 2, "no signal"),
        ("{\"v\":1,\"do\":\"kill\",\"unit\":\"absent\",\"signal\":\"9\"}", 4, "no unit"),
        ("{\"v\":1,\"do\":\"reload\",\"units\":[\"calm\"]}", 1, "has no [reload] section"),
        ("{\"v\":1,\"do\":\"shutdown\",\"now\":true}", 2, "unknown field `now`"),
        ("GET / HTTP/1.1\r", 2, "not understood"),
        ("\u{feff}{\"v\":1,\"do\":\"status\"}", 2, "not understood"),
    ];
    let mut lines: Vec<(Vec<u8>, u64, &str)> =
        text.iter().map(|(line, code, part)| (line.as_bytes().to_vec(), *code, *part)).collect();
    let long = format!("{{\"v\":1,\"do\":\"status\",\"unit\":\"{}\"}}", "x".repeat(60_000));
    lines.extend([
        (b"\0\0\0\0".to_vec(), 2, "not understood"),
        (b"{\"v\":1,\"do\":\"status\",\"unit\":\"\xff\xfe\"}".to_vec(), 2, "not understood"),
        (b"\x7fELF\x01\x02\x03\x80\x81".to_vec(), 2, "not understood"),
        (nested("[", 60_000), 2, "not understood"),
        (nested("{\"v\":", 12_000), 2, "not understood"),
        (long.into_bytes(), 4, "no unit"),
    ]);
    lines
}

pub fn bad_requests_of_many_kinds_get_an_error_each() {
    let (node, pids) = calm();
    let mut same = Wire::of(&node);
    for (line, code, part) in bad_lines() {
        let start = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        same.say(&line);
        same.say(b"\n");
        let answer = same.answer();
        assert_eq!(answer.len(), 1, "{start}: {answer:?}");
        assert_eq!((&answer[0]["is"], &answer[0]["code"]), (&"error".into(), &code.into()));
        let message = answer[0]["message"].as_str().unwrap();
        assert!(message.contains(part), "{start}: {message}");
    }
    // The connection is as good as new.
    assert_eq!(same.ask("{\"v\":1,\"do\":\"status\"}")[0]["is"], "status");
    unmoved(&node, pids);
}

pub fn a_request_that_is_too_long_ends_the_connection() {
    let (node, pids) = calm();
    for has_end in [true, false] {
        let mut wire = Wire::of(&node);
        wire.say(&vec![b'x'; 70 * 1024]);
        if has_end {
            wire.say(b"\n{\"v\":1,\"do\":\"status\"}\n");
        }
        let answer = wire.answer();
        assert!(answer[0]["message"].as_str().unwrap().contains("64 KiB"), "{answer:?}");
        assert_eq!(answer[0]["code"], 2);
        assert_eq!(wire.reply(), None, "closed");
    }
    unmoved(&node, pids);
}

pub fn requests_are_what_lines_are_and_not_what_packets_are() {
    let (node, pids) = calm();
    let status = "{\"v\":1,\"do\":\"status\"}\n";
    let mut wire = Wire::of(&node);
    wire.say([status, status, "rubbish\n", status].concat().as_bytes());
    let kinds = [wire.answer(), wire.answer(), wire.answer(), wire.answer()]
        .map(|answer| answer[0]["is"].as_str().unwrap().to_owned());
    assert_eq!(kinds, ["status", "status", "error", "status"]);
    // A byte at a time, while others are served.
    for byte in status.bytes() {
        wire.say(&[byte]);
        node.status();
    }
    assert_eq!(wire.answer()[0]["is"], "status");
    wire.say(b"{\"v\":1,\"do\":\"status\"}\r\n");
    assert_eq!(wire.answer()[0]["is"], "status");
    // A job and the next request behind it.
    wire.say(b"{\"v\":1,\"do\":\"stop\",\"units\":[\"calm\"]}\n{\"v\":1,\"do\":\"status\"}\n");
    assert_eq!(wire.answer().last().unwrap()["message"], "calm is down");
    assert_eq!(wire.answer()[0]["is"], "status");
    assert_eq!(node.ready("chatty"), pids[1]);
}

pub fn who_leaves_halfway_leaves_nothing() {
    let (node, pids) = calm();
    let before = descriptors(node.pid()).len();
    for half in ["", "{\"v\":1,\"do\":\"sta", "{\"v\":1,\"do\":\"stop\",\"units\":[\"calm\"]}"] {
        let mut wire = Wire::of(&node);
        wire.say(half.as_bytes());
        drop(wire);
    }
    // Asks, and does not want to hear it.
    for _ in 0..20 {
        let mut wire = Wire::of(&node);
        wire.say(b"{\"v\":1,\"do\":\"logs\"}\n");
        drop(wire);
    }
    // The write half is closed, and the answer still comes.
    let mut wire = Wire::of(&node);
    wire.say(b"{\"v\":1,\"do\":\"status\"}\n");
    wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(wire.answer()[0]["is"], "status");
    drop(wire);
    until("all connections are gone", || descriptors(node.pid()).len() <= before);
    unmoved(&node, pids);
}

pub fn mute_clients_do_not_keep_others_out() {
    let (node, pids) = calm();
    let mut mute: Vec<Wire> = (0..200).map(|_| Wire::of(&node)).collect();
    let start = Instant::now();
    unmoved(&node, pids);
    assert!(start.elapsed() < Duration::from_secs(10));
    let open = descriptors(node.pid());
    let count = open.iter().filter(|(_, what)| what.starts_with("socket:")).count();
    assert!(count < 100, "{count} connections");
    let job = node.ctl(&["restart", "calm"]).expect_code(0);
    assert!(job.out.contains("calm is ready"), "{job:?}");
    // The youngest of them is still served.
    let youngest = mute.last_mut().unwrap();
    assert_eq!(youngest.ask("{\"v\":1,\"do\":\"status\"}")[0]["is"], "status");
}

pub fn who_does_not_read_does_not_hold_up_others() {
    let node = Node::with(&[
        ("calm", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
        (
            "spam",
            "[command]\nexec = [\"@double\", \"spam 300000\", \"notify READY=1\", \"wait\"]\n\
             [ready]\nnotify = true\n[log]\nring = \"1M\"\n",
        ),
    ]);
    let mut deaf = Wire::of(&node);
    deaf.say(b"{\"v\":1,\"do\":\"logs\",\"follow\":true}\n");
    let mut greedy = Wire::of(&node);
    greedy.stream.set_nonblocking(true).unwrap();
    for _ in 0..20_000 {
        if greedy.stream.write_all(b"{\"v\":1,\"do\":\"status\"}\n").is_err() {
            break;
        }
    }
    let pid = node.ready("calm");
    let start = Instant::now();
    node.status();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    node.ready("spam");
    assert_eq!(node.ready("calm"), pid);
    let memory = proc_status(node.pid(), "VmRSS");
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 40_000, "{memory}: it keeps for nobody what nobody reads");
}

pub fn a_client_that_goes_ends_the_waiting_and_not_the_job() {
    let node = Node::with(&[(
        "slow",
        "[unit]\nenabled = false\n[command]\nexec = [\"@double\", \"await-file @dir/go\", \
         \"notify READY=1\", \"wait\"]\n[ready]\nnotify = true\n",
    )]);
    let mut wire = Wire::of(&node);
    wire.say(b"{\"v\":1,\"do\":\"start\",\"units\":[\"slow\"]}\n");
    node.until_state("slow", "starting");
    drop(wire);
    write("go", "");
    node.ready("slow");
    assert_eq!(node.of("slow")["starts"], 1);
}
