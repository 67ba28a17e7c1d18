//! `pisup container-run` against a double of the container engine: what it asks, in which order,
//! and what it makes of answers that are late, bad or no answers at all.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::indexing_slicing, reason = "a test that finds nothing has to fail")]

#[path = "engine/double.rs"]
mod double;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Output, Stdio};

use double::{Answer, Double, Table, but, container, good, output, reply};
use pisup::wire::container::Spec;
use pisup::wire::engine::fingerprint;
use rustix::process::{Pid, Signal, kill_process};

/// What the owner exits with when there is no container.
const NO_CONTAINER: i32 = 125;

fn bytes(text: &str) -> Answer {
    Answer::Bytes(text.as_bytes().to_vec())
}

fn config() -> String {
    fingerprint(&Spec { image: "etcd:2.1".into(), ..Spec::default() })
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn terminate(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
}

fn lines_asked(double: &Double) -> Vec<String> {
    double.requests().iter().map(|request| request.lines().next().unwrap().to_owned()).collect()
}

#[test]
fn output_and_exit_code_are_passed_on() {
    let double = Double::start(good());
    let ran = double.run(&["--network=host", "--", "/bin/etcd", "--name=y"]);
    assert_eq!(ran.status.code(), Some(7), "{}", said(&ran));
    assert_eq!(ran.stdout, b"hello\n");
    assert_eq!(said(&ran), "oops\n");
    let asked = [
        "GET /version",
        "GET /v1.41/containers/pisup-x/json",
        "GET /v1.41/images/etcd%3A2.1/json",
        "POST /v1.41/containers/create?name=pisup-x",
        "POST /v1.41/containers/abc123/attach?stream=1&stdout=1&stderr=1",
        "POST /v1.41/containers/abc123/start",
        "POST /v1.41/containers/abc123/wait",
        "GET /v1.41/containers/abc123/json",
    ];
    let mut lines = lines_asked(&double);
    // The last two are under way at the same time.
    if let Some(rest) = lines.get_mut(6..) {
        rest.sort_by_key(|line| line.starts_with("GET"));
    }
    assert_eq!(lines, asked);
    let create = &double.requests()[3];
    for part in [
        r#""Cmd":["/bin/etcd","--name=y"]"#,
        r#""NetworkMode":"host""#,
        r#""pisup.unit":"x""#,
        r#""LogConfig":{"Type":"none"}"#,
    ] {
        assert!(create.contains(part), "{part} in {create}");
    }
}

#[test]
fn bad_answers_are_one_sentence_each() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases: Vec<(&str, Answer, &str)> = vec![
        ("GET /version", bytes(""), "connecting to the engine: truncated reply"),
        ("GET /version", bytes("SSH-2.0-x\r\n"), "connecting to the engine: malformed reply"),
        ("GET /version", bytes("HTTP/1.1 200 OK\r\nConte"), "ends in its head"),
        ("GET /version", reply(200, "{}"), "does not say which API it speaks"),
        ("GET /version", reply(200, "no json"), "does not say which API it speaks"),
        ("GET /version", reply(503, "starting"), "the engine says: starting (HTTP 503)"),
        ("GET /version", reply(200, r#"{"ApiVersion":"1.19"}"#), "speaks API 1.19; 1.24 or later"),
        (
            "GET /v1.41/containers/pisup-x/json",
            reply(500, r#"{"message":"database is locked"}"#),
            "looking for container pisup-x: the engine says: database is locked (HTTP 500)",
        ),
        (
            "GET /v1.41/containers/pisup-x/json",
            reply(200, r#"{"Id":"abc","State":"#),
            "looking for container pisup-x: not the JSON document that belongs there",
        ),
        ("GET /v1.41/containers/pisup-x/json", reply(200, r#"{"Id":"a"}"#), "no State in it"),
        (
            "GET /v1.41/containers/pisup-x/json",
            bytes("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"Id\":"),
            "truncated reply: it ends in its body",
        ),
        (
            "GET /v1.41/images/etcd%3A2.1/json",
            bytes("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
            "looking for image etcd:2.1: malformed reply: a content length that is no number",
        ),
        (
            "GET /v1.41/images/etcd%3A2.1/json",
            bytes(&format!("{chunked}zz\r\n")),
            "malformed reply: a chunk without a size",
        ),
        (
            "POST /v1.41/containers/create",
            reply(400, r#"{"message":"invalid mount config"}"#),
            "creating container pisup-x: the engine says: invalid mount config (HTTP 400)",
        ),
        (
            "POST /v1.41/containers/create",
            reply(409, r#"{"message":"The container name is already in use"}"#),
            "The container name is already in use (HTTP 409)",
        ),
        ("POST /v1.41/containers/create", reply(201, r#"{"Id":"../x"}"#), "an Id that is none"),
        (
            "POST /v1.41/containers/create",
            bytes(&format!("HTTP/1.1 201 X\r\n\r\n{}", "x".repeat(600 * 1024))),
            "the reply's body is over 524288 bytes",
        ),
        (
            "/attach?",
            reply(409, r#"{"message":"container is paused"}"#),
            "following the container's output: the engine says: container is paused",
        ),
        ("/attach?", bytes("HTTP/1.1 101 UPGRADED\r\n\r\n"), "switches to another protocol"),
        (
            "/start",
            reply(400, r#"{"message":"exec: \"/bin/etcd\": no such file\nor directory"}"#),
            "starting the container: the engine says: exec: \"/bin/etcd\": no such file or",
        ),
        ("/wait", reply(404, r#"{"message":"No such container"}"#), "No such container (HTTP 404)"),
        ("/wait", bytes(""), "waiting for the container: truncated reply"),
        ("/wait", reply(200, r#"{"StatusCode":4000}"#), "4000 is no exit code"),
        ("/wait", reply(200, r#"{"StatusCode":0,"Error":{"Message":"gone"}}"#), "container: gone"),
    ];
    for (request, answer, sentence) in cases {
        let double = Double::start(but(request, answer));
        let ran = double.run(&[]);
        let said = said(&ran).replace("oops\n", "");
        assert_eq!(ran.status.code(), Some(NO_CONTAINER), "{request}: {said}");
        assert!(said.contains(sentence), "{request}: {said}");
        assert!(said.starts_with("pisup: ") && said.ends_with('\n'), "{said}");
        assert_eq!(said.lines().count(), 1, "{request}: {said}");
        // What was made and never ran is taken away again.
        let is_made = matches!(request, "/attach?" | "/start");
        let is_removed = lines_asked(&double).iter().any(|line| line.starts_with("DELETE"));
        assert_eq!(is_removed, is_made, "{request}");
    }
}

#[test]
fn an_engine_that_is_not_there() {
    let double = Double::start(good());
    let gone = double.socket() + ".not";
    let ran = double.command(&["--engine", &gone]).output().unwrap();
    assert_eq!(ran.status.code(), Some(NO_CONTAINER));
    let want = format!(
        "pisup: the engine does not answer on {gone}: no such file or directory; is its unit \
         running?\n"
    );
    assert_eq!(said(&ran), want);
}

#[test]
fn a_bad_command_line() {
    let double = Double::start(good());
    let ran = double.run(&["--nmae=x"]);
    assert_eq!(ran.status.code(), Some(NO_CONTAINER));
    assert_eq!(said(&ran), "pisup: container-run: \"--nmae\" is not an option\n");
    assert!(double.requests().is_empty());
}

#[test]
fn output_that_is_not_frames_ends_the_output_only() {
    let double =
        Double::start(but("/attach?", bytes("HTTP/1.1 200 OK\r\n\r\nplain terminal text")));
    let ran = double.run(&[]);
    assert_eq!(ran.status.code(), Some(7));
    let want = "pisup: following the container's output: it is not in frames; the rest is lost\n";
    assert_eq!(said(&ran), want);
    let mut cut = output(&[(1, "hello\n"), (1, "world\n")]);
    cut.truncate(cut.len() - 3);
    let double = Double::start(but("/attach?", Answer::Bytes(cut)));
    let ran = double.run(&[]);
    assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(7), &b"hello\nwor"[..]));
    assert!(said(&ran).contains("it ends in a frame"));
}

#[test]
fn a_container_of_somebody_else_is_never_touched() {
    let foreign = reply(
        200,
        r#"{"Id":"ffff00001111222","State":{"Running":true,"Pid":5},
            "Config":{"Image":"nginx","Labels":{}}}"#,
    );
    let other_unit = container(false, "y", &config());
    let own = container(false, "x", &config());
    for (answer, run, owner) in [
        (foreign, "", "which is not ours"),
        (other_unit, "", "belongs to unit y"),
        (own, "/run/another", "belongs to unit x of"),
    ] {
        let double = Double::start(but("GET /v1.41/containers/pisup-x/json", answer));
        let ran = double.run(&["--run", run]);
        assert_eq!(ran.status.code(), Some(NO_CONTAINER));
        assert!(said(&ran).contains(owner), "{}", said(&ran));
        assert!(said(&ran).contains("the name pisup-x is taken by container"));
        assert_eq!(double.requests().len(), 2, "{:?}", double.requests());
    }
}

#[test]
fn leftovers_of_our_own_go_first() {
    let inspect = "GET /v1.41/containers/pisup-x/json";
    // Ended: removed. Running, and made differently or not wanted: stopped in time, then removed.
    for (is_running, config, more) in [
        (false, config(), &[][..]),
        (true, "0".repeat(16), &[][..]),
        (true, config(), &["--fresh"][..]),
    ] {
        let double = Double::start(but(inspect, container(is_running, "x", &config)));
        let ran = double.run(&[&["--stop-timeout=5500"], more].concat());
        assert_eq!(ran.status.code(), Some(7), "{}", said(&ran));
        let asked = lines_asked(&double);
        let place = |part: &str| asked.iter().position(|line| line.contains(part));
        assert_eq!(place("/abc123/stop?t=5").is_some(), is_running);
        assert!(place("DELETE /v1.41/containers/abc123?force=1&v=1") < place("create?name"));
        assert!(place("stop?") < place("DELETE"));
    }
}

#[test]
fn a_running_container_of_our_own_is_taken_over() {
    let mut table = but("GET /v1.41/containers/pisup-x/json", container(true, "x", &config()));
    let answer = table.iter_mut().find(|(part, _)| *part == "/wait").unwrap();
    answer.1 = Answer::Later(b"HTTP/1.1 200 OK\r\n\r\n{\"StatusCode\":3}".to_vec());
    let double = Double::start(table);
    let folder = std::env::temp_dir().join(format!("pisup-notify-{}", std::process::id()));
    let _ = std::fs::remove_file(&folder);
    let notify = UnixDatagram::bind(&folder).unwrap();
    let child = double.command(&[]).env("NOTIFY_SOCKET", &folder).spawn().unwrap();
    let mut datagram = [0; 200];
    let count = notify.recv(&mut datagram).unwrap();
    std::fs::remove_file(&folder).unwrap();
    let told = pisup::wire::notify::parse(&datagram[..count]);
    use pisup::wire::notify::Message;
    let status = Message::Status(String::new());
    let want = [Message::TakenOver, Message::ContainerPid(4242), Message::Ready, status];
    assert_eq!(told, want);
    double.go_on();
    let ran = child.wait_with_output().unwrap();
    assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(3), &b"hello\n"[..]));
    assert!(said(&ran).contains("took over container pisup-x, which runs already (pid 4242)"));
    let asked = lines_asked(&double);
    assert!(!asked.iter().any(|line| line.contains("create") || line.starts_with("DELETE")));
}

fn waits_for_ever() -> Table {
    let mut table = but("/attach?", Answer::Hang(output(&[(1, "hello\n")])));
    table.iter_mut().find(|(part, _)| *part == "/wait").unwrap().1 =
        Answer::Later(b"HTTP/1.1 200 OK\r\n\r\n{\"StatusCode\":0}".to_vec());
    table
}

#[test]
fn term_becomes_a_timed_stop() {
    let double = Double::start(waits_for_ever());
    let mut child = double.spawn(&["--stop-timeout=9000"]);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    double.wait_for("/wait");
    terminate(&child);
    double.wait_for("POST /v1.41/containers/abc123/stop?t=9");
    // Sent once, however often it is asked.
    terminate(&child);
    double.go_on();
    let ran = child.wait_with_output().unwrap();
    assert_eq!((ran.status.code(), said(&ran).as_str()), (Some(0), ""));
    let stops = lines_asked(&double).iter().filter(|line| line.contains("/stop")).count();
    assert_eq!(stops, 1);
}

#[test]
fn signals_are_passed_on_and_patience_can_be_without_end() {
    let double = Double::start(waits_for_ever());
    let child = double.spawn(&["--stop-timeout=never"]);
    double.wait_for("/wait");
    for (signal, number) in [(Signal::HUP, 1), (Signal::USR1, 10), (Signal::USR2, 12)] {
        kill_process(Pid::from_child(&child), signal).unwrap();
        double.wait_for(&format!("POST /v1.41/containers/abc123/kill?signal={number}"));
    }
    terminate(&child);
    double.wait_for("POST /v1.41/containers/abc123/stop?t=-1");
    double.go_on();
    let ran = child.wait_with_output().unwrap();
    assert_eq!((ran.status.code(), said(&ran).as_str()), (Some(0), ""));
}

#[test]
fn a_refused_stop_is_told_and_the_end_still_waited_for() {
    let mut table = waits_for_ever();
    table.iter_mut().find(|(part, _)| *part == "/stop?").unwrap().1 =
        reply(500, r#"{"message":"tried to kill container, but did not receive an exit event"}"#);
    let double = Double::start(table);
    let mut child = double.spawn(&[]);
    double.wait_for("/wait");
    terminate(&child);
    double.wait_for("/stop?");
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("stopping the container: the engine says: tried to kill"), "{line}");
    double.go_on();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn term_before_the_container_runs() {
    for (request, is_made) in [("POST /v1.41/images/create", false), ("/start", true)] {
        let mut table = but(request, Answer::Hang(Vec::new()));
        table.iter_mut().find(|(part, _)| part.contains("/images/etcd")).unwrap().1 =
            reply(404, r#"{"message":"No such image"}"#);
        let double = Double::start(table);
        let child = double.spawn(&[]);
        double.wait_for(request);
        terminate(&child);
        let ran = child.wait_with_output().unwrap();
        assert_eq!(ran.status.code(), Some(143), "{}", said(&ran));
        assert!(said(&ran).ends_with("pisup: asked to end before the container ran\n"));
        let is_removed = lines_asked(&double).iter().any(|line| line.starts_with("DELETE"));
        assert_eq!(is_removed, is_made);
    }
}

#[test]
fn images_are_pulled_as_told() {
    let missing = |stream: &str| {
        let mut table = but("POST /v1.41/images/create", reply(200, stream));
        table.iter_mut().find(|(part, _)| part.contains("/images/etcd")).unwrap().1 =
            reply(404, r#"{"message":"No such image"}"#);
        Double::start(table)
    };
    let stream = [
        r#"{"status":"Pulling from library/etcd","id":"2.1"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":1,"total":9},"id":"aa"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":2,"total":9},"id":"aa"}"#,
        r#"{"status":"Pull complete","id":"aa"}"#,
        r#"{"status":"Status: Downloaded"}"#,
    ]
    .join("\r\n");
    let double = missing(&stream);
    let ran = double.run(&[]);
    assert_eq!(ran.status.code(), Some(7));
    assert_eq!(
        said(&ran).replace("oops\n", ""),
        "pisup: pulling etcd:2.1\npisup: pulling etcd:2.1: 2.1: Pulling from library/etcd\n\
         pisup: pulling etcd:2.1: aa: Downloading\npisup: pulling etcd:2.1: aa: Pull complete\n\
         pisup: pulling etcd:2.1: Status: Downloaded\npisup: pulled etcd:2.1\n"
    );
    let pull = "POST /v1.41/images/create?fromImage=etcd&tag=2.1";
    assert!(lines_asked(&double).iter().any(|line| line == pull));

    let double = missing(&stream);
    let ran = double.run(&["--pull=never"]);
    assert_eq!(ran.status.code(), Some(NO_CONTAINER));
    let socket = double.socket();
    assert_eq!(
        said(&ran),
        format!(
            "pisup: there is no image etcd:2.1 and it is not to be pulled; get it with `docker -H \
             unix://{socket} pull etcd:2.1`, or `docker import` from a file\n"
        )
    );

    let double = Double::start(good());
    assert_eq!(double.run(&["--pull=always"]).status.code(), Some(7));
    assert!(lines_asked(&double).iter().any(|line| line == pull));
    let double = Double::start(good());
    assert_eq!(double.run(&[]).status.code(), Some(7));
    assert!(!lines_asked(&double).iter().any(|line| line == pull));
}

#[test]
fn bad_pulls() {
    let line = "{\"errorDetail\":{\"message\":\"no route to host\"},\"error\":\"no\"}\r\n";
    for (answer, sentence) in [
        (reply(200, line), "pulling etcd:2.1: the engine says: no route to host (HTTP 200)"),
        (reply(404, r#"{"message":"manifest unknown"}"#), "manifest unknown (HTTP 404)"),
        (reply(200, "not json\n"), "not the JSON document that belongs there"),
        (bytes("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"sta"), "truncated reply"),
        (bytes(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(99_000))), "65536 bytes"),
        (Answer::Hang(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), "no answer within 1s"),
    ] {
        let double = Double::start(but("POST /v1.41/images/create", answer));
        let ran = double.run(&["--pull=always", "--pull-timeout=1000"]);
        assert_eq!(ran.status.code(), Some(NO_CONTAINER), "{sentence}");
        let last = said(&ran).lines().last().unwrap().to_owned();
        assert!(last.contains(sentence), "{last}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let table = but("/attach?", Answer::Bytes(output(&[(1, "hello\n"), (1, &"x".repeat(99_999))])));
    let double = Double::start(table);
    let mut command = double.command(&[]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 6]).unwrap();
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
