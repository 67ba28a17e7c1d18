//! The client as its user has it: what it writes, where, and with which exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "cli/double.rs"]
mod double;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use double::{Double, Ended, PATIENCE, Run};
use pisup::ctl::show::{self, Look};
use pisup::wire::ctl::{
    Done, ErrorDoc, EventDoc, ExitDoc, LogDoc, PlanDoc, PlanStep, Progress, Reply, StatusDoc,
    StepKind, SupervisorDoc, UnitDoc,
};

fn golden(name: &str, found: &str) {
    let path = format!("{}/tests/cli/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} (GOLDEN=1 writes it anew):\n{found}\nnot:\n{expected}");
}

fn pisup(line: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
    Ended::of(&command.args(line.split_whitespace()).output().unwrap())
}

fn done(code: u8, message: &str) -> String {
    Reply::Done(Done { code, message: message.to_owned() }).to_line()
}

fn progress(unit: &str, state: &str, sentence: &str) -> String {
    let (unit, state, sentence) = (unit.to_owned(), state.to_owned(), sentence.to_owned());
    Reply::Progress(Progress { unit, state, sentence }).to_line()
}

fn unit(name: &str, state: &str, cause: &str) -> UnitDoc {
    UnitDoc {
        name: name.to_owned(),
        kind: "service".to_owned(),
        state: state.to_owned(),
        cause: cause.to_owned(),
        since_ms: 125_000,
        ..UnitDoc::default()
    }
}

/// A node in trouble: a unit in each kind of state.
fn node() -> StatusDoc {
    let flannel = UnitDoc {
        ready: true,
        pid: Some(712),
        main_pid: Some(730),
        starts: 2,
        exports: [("FLANNEL_SUBNET".to_owned(), "10.1.78.1/24".to_owned())].into(),
        memory_bytes: Some(11 * 1024 * 1024),
        exit: Some(ExitDoc::Signal("KILL".to_owned())),
        description: "one subnet for this node, leased from etcd".to_owned(),
        log_dropped: 3,
        ..unit("flannel", "ready", "ready")
    };
    let docker = UnitDoc {
        pid: Some(801),
        main_pid: Some(801),
        starts: 1,
        missing: vec!["notify".to_owned(), "http".to_owned()],
        status_text: Some("loading containers".to_owned()),
        memory_bytes: Some(1_288_490_189),
        ..unit("docker", "starting", "prepared")
    };
    let kubelet = UnitDoc {
        failures: 7,
        degraded: true,
        starts: 8,
        retry_in_ms: Some(32_000),
        exit: Some(ExitDoc::Code(1)),
        ..unit("kubelet", "backoff", "ended with exit code 1 before it was ready")
    };
    let proxy = UnitDoc {
        waiting_for: Some("waits for docker to be ready".to_owned()),
        ..unit("kube-proxy", "waiting", "docker needs it")
    };
    let config = UnitDoc {
        kind: "oneshot".to_owned(),
        ready: true,
        starts: 1,
        notes: vec!["the key was already right".to_owned()],
        ..unit("flannel-config", "done", "done, exit code 0")
    };
    StatusDoc {
        version: 1,
        supervisor: SupervisorDoc {
            pid: 400,
            uptime_ms: 130_000,
            warnings: vec!["no memory cgroup: memory is not limited".to_owned()],
            ..SupervisorDoc::default()
        },
        units: vec![
            docker,
            unit("etcd", "down", "stopped by name"),
            flannel,
            config,
            proxy,
            kubelet,
        ],
    }
}

fn status(doc: StatusDoc) -> String {
    Reply::Status(doc).to_line() + &done(0, "")
}

#[test]
fn help_is_a_golden_text() {
    for (line, name) in [
        ("--help", "help.txt"),
        ("ctl --help", "help-ctl.txt"),
        ("ctl restart --help", "help-restart.txt"),
    ] {
        let ended = pisup(line);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        assert!(ended.out.lines().all(|text| text.chars().count() <= 100), "{}", ended.out);
        golden(name, &ended.out);
    }
}

#[test]
fn wrong_usage_is_told_and_ends_with_2() {
    for (line, part) in [
        ("", "Usage: pisup [OPTIONS] <COMMAND>"),
        ("clt status", "unrecognized subcommand 'clt'"),
        ("ctl logz", "a similar subcommand exists: 'logs'"),
        ("ctl restart", "required arguments were not provided"),
        ("ctl kill NOSUCH a", "a signal is a name or a number: TERM, SIGTERM or 15"),
        ("ctl --timeout 10 status", "write a number and a unit"),
        ("ctl status --jason", "'--json'"),
    ] {
        let ended = pisup(line);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{line}");
        assert!(ended.err.contains(part), "{line}: {}", ended.err);
    }
}

#[test]
fn the_table_is_a_golden_text() {
    let double = Double::saying(status(node()));
    let ended = double.ctl("status");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    golden("status.txt", &ended.out);
    assert_eq!(double.requests.recv().unwrap(), r#"{"v":1,"do":"status"}"#);
    double.join();
}

#[test]
fn a_terminal_gets_colours_and_lines_that_fit() {
    let mut out = Vec::new();
    let look = Look { is_terminal: true, has_colours: true, columns: Some(70) };
    show::status(&mut out, look, &node()).unwrap();
    golden("status-70.txt", &String::from_utf8(out).unwrap());
    for columns in 0..120 {
        let mut out = Vec::new();
        let look = Look { is_terminal: true, has_colours: false, columns: Some(columns) };
        show::status(&mut out, look, &StatusDoc { supervisor: SupervisorDoc::default(), ..node() })
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{text}");
    }
}

#[test]
fn one_unit_is_told_with_its_changes_and_its_output() {
    let double = Double::new(|mut peer| {
        while let Some(request) = peer.request() {
            let doc = StatusDoc { units: vec![node().units.remove(2)], ..node() };
            let event = Reply::Event(EventDoc {
                at_ms: 1,
                wall: "2024-01-01T00:00:01Z".to_owned(),
                unit: "flannel".to_owned(),
                from: "starting".to_owned(),
                to: "ready".to_owned(),
                cause: "ready".to_owned(),
            });
            let log = Reply::Log(LogDoc { line: "lease acquired".to_owned(), ..LogDoc::default() });
            let answer = match request {
                text if text.contains("\"status\"") => status(doc),
                text if text.contains("\"events\"") => event.to_line() + &done(0, ""),
                _ => log.to_line() + &done(0, ""),
            };
            peer.send(answer);
        }
    });
    let ended = double.ctl("status flannel");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    golden("status-unit.txt", &ended.out);
    let requests: Vec<String> = double.requests.try_iter().collect();
    assert_eq!(
        requests,
        [
            r#"{"v":1,"do":"status","unit":"flannel"}"#,
            r#"{"v":1,"do":"events","units":["flannel"],"n":8}"#,
            r#"{"v":1,"do":"logs","units":["flannel"],"n":10}"#,
        ]
    );
    double.join();
}

#[test]
fn status_of_one_unit_ends_with_3_when_it_is_down_or_failed() {
    for (state, code) in [
        ("down", 3),
        ("failed", 3),
        ("ready", 0),
        ("done", 0),
        ("waiting", 0),
        ("backoff", 0),
        ("stopping", 0),
    ] {
        for line in ["status a", "status --json a"] {
            let doc = StatusDoc { units: vec![unit("a", state, "why")], ..node() };
            let double = Double::saying(status(doc));
            let ended = double.ctl(line);
            assert_eq!((ended.code, ended.err.as_str()), (Some(code), ""), "{line} {state}");
            assert!(ended.out.contains(state));
            double.join();
        }
    }
    let doc = StatusDoc { units: vec![unit("a", "failed", "why")], ..node() };
    assert_eq!(Double::saying(status(doc)).ctl("status").code, Some(0), "the table is no verdict");
}

#[test]
fn json_is_the_document_and_nothing_else() {
    let double = Double::saying(status(node()));
    let ended = double.ctl("status --json");
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.starts_with(r#"{"version":1,"supervisor":{"pid":400,"boot_id":"","#));
    assert_eq!(ended.out.find('\n'), Some(ended.out.len() - 1));
    double.join();
    let event = EventDoc { at_ms: 5, unit: "a".to_owned(), ..EventDoc::default() };
    let events = Reply::Event(event).to_line().repeat(2) + &done(0, "");
    let double = Double::saying(events);
    let line = r#"{"at_ms":5,"wall":"","unit":"a","from":"","to":"","cause":""}"#;
    assert_eq!(double.ctl("events --json").out, format!("{line}\n{line}\n"));
    double.join();
}

#[test]
fn no_supervisor_ends_with_5_and_says_what_to_do() {
    let run = Run::new();
    let absent = Ended::of(&run.ctl("status").output().unwrap());
    assert_eq!(absent.code, Some(5));
    assert!(absent.err.contains("does not exist; start one with `pisup supervise`"), "{absent:?}");
    drop(UnixListener::bind(run.socket()).unwrap());
    let stale = Ended::of(&run.ctl("start a").output().unwrap());
    assert_eq!(stale.code, Some(5));
    assert!(stale.err.contains("nobody listens on"), "{stale:?}");
    std::fs::remove_file(run.socket()).unwrap();
    std::fs::write(run.socket(), "").unwrap();
    assert_eq!(Ended::of(&run.ctl("status").output().unwrap()).code, Some(5));
}

#[test]
fn an_error_is_a_sentence_on_standard_error_with_its_code() {
    for (code, expected) in [(1, 1), (2, 2), (4, 4), (6, 6), (99, 1), (0, 1)] {
        let message = "no unit \"flanel\"; did you mean \"flannel\"?".to_owned();
        let double = Double::saying(Reply::Error(ErrorDoc { code, message }).to_line());
        for line in ["status flanel", "why flanel", "start flanel", "logs flanel"] {
            let ended = Double::saying(
                Reply::Error(ErrorDoc { code, message: "no unit \"x\"".to_owned() }).to_line(),
            )
            .ctl(line);
            assert_eq!(ended.code, Some(expected), "{code} {line}");
            assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", "pisup: no unit \"x\"\n"));
        }
        assert!(double.ctl("env flanel").err.contains("did you mean \"flannel\"?"));
        double.join();
    }
}

fn restart_of_docker() -> String {
    let step = |kind, unit: &str, because: &str| PlanStep {
        kind,
        unit: unit.to_owned(),
        because: because.to_owned(),
        condition: None,
    };
    let plan = vec![
        step(StepKind::Stop, "docker", "restarted by name"),
        step(StepKind::Start, "docker", "restarted by name"),
    ];
    Reply::Plan(PlanDoc { plan, changes: vec![] }).to_line()
}

#[test]
fn a_job_tells_its_plan_its_progress_and_its_end() {
    let answer = restart_of_docker()
        + &progress("docker", "stopping", "restarted by name")
        + "{\"is\":\"something of tomorrow\",\"x\":1}\n"
        + &progress("docker", "ready", "ready")
        + &done(0, "docker is ready");
    let double = Double::saying(answer.clone());
    let ended = double.ctl("restart docker");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert_eq!(
        ended.out,
        "stop     docker  restarted by name\n\
         start    docker  restarted by name\n\
         docker is stopping: restarted by name\n\
         docker is ready\n\
         docker is ready\n"
    );
    assert_eq!(double.requests.recv().unwrap(), r#"{"v":1,"do":"restart","units":["docker"]}"#);
    double.join();
    let double = Double::saying(answer.clone());
    let lines: Vec<&str> = answer.lines().filter(|line| !line.contains("tomorrow")).collect();
    assert_eq!(double.ctl("restart docker --json").out, lines.join("\n") + "\n");
    double.join();
}

#[test]
fn a_job_that_fails_ends_with_1_after_its_progress() {
    let answer = restart_of_docker()
        + &progress("docker", "backoff", "exit code 1")
        + &done(1, "docker ended with exit code 1 before it was ready");
    let ended = Double::saying(answer).ctl("restart docker");
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.ends_with("docker is backoff: exit code 1\n"), "{}", ended.out);
    assert_eq!(ended.err, "pisup: docker ended with exit code 1 before it was ready\n");
}

#[test]
fn a_dry_run_is_the_plan_only() {
    let answer = restart_of_docker() + &done(0, "");
    let double = Double::saying(answer.clone());
    assert_eq!(
        double.ctl("restart --dry-run --json docker").out,
        "{\"plan\":[{\"do\":\"stop\",\"unit\":\"docker\",\"because\":\"restarted by name\"},\
         {\"do\":\"start\",\"unit\":\"docker\",\"because\":\"restarted by name\"}]}\n"
    );
    let request = r#"{"v":1,"do":"restart","units":["docker"],"dry_run":true}"#;
    assert_eq!(double.requests.recv().unwrap(), request);
    double.join();
    let ended = Double::saying(answer).ctl("restart --dry-run docker");
    assert_eq!(
        ended.out,
        "stop     docker  restarted by name\nstart    docker  restarted by name\n"
    );
}

#[test]
fn a_timeout_ends_with_6_and_says_that_the_job_goes_on() {
    let (closed, is_closed) = mpsc::channel();
    let double = Double::new(move |mut peer| {
        peer.request();
        peer.send(progress("docker", "starting", "not yet: notify"));
        let _ = closed.send(peer.request());
    });
    let ended = double.ctl("--timeout 2s start docker");
    assert_eq!(ended.code, Some(6));
    assert_eq!(ended.out, "docker is starting: not yet: notify\n");
    assert_eq!(
        ended.err,
        "pisup: not done within 2s; the start of docker goes on; \
         last news: docker is starting: not yet: notify\n"
    );
    assert_eq!(is_closed.recv_timeout(PATIENCE), Ok(None));
    double.join();
    let ended = Double::saying("").ctl("status --timeout 200ms");
    assert_eq!(ended.code, Some(6));
    assert!(ended.err.contains("no answer within 200ms"), "{}", ended.err);
    assert_eq!(Double::saying("").ctl("start a --timeout 0s").code, Some(6));
}

#[test]
fn ctrl_c_ends_the_waiting_and_closes_the_connection() {
    let (closed, is_closed) = mpsc::channel();
    let double = Double::new(move |mut peer| {
        peer.request();
        peer.send(progress("docker", "starting", ""));
        let _ = closed.send(peer.request());
    });
    let mut child = double
        .run
        .ctl("start docker kubelet")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "docker is starting\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = Ended::wait(child);
    assert_eq!(ended.code, Some(130));
    assert_eq!(ended.err, "pisup: no longer waiting; the start of docker, kubelet goes on\n");
    assert_eq!(is_closed.recv_timeout(PATIENCE), Ok(None));
    double.join();
}

#[test]
fn whatever_answers_the_client_ends_with_a_sentence() {
    let version_2 = StatusDoc { version: 2, ..node() };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not understood"),
        (b"\n".to_vec(), "not understood"),
        (b"\xff\xfe\n".to_vec(), "not understood"),
        (b"[]\n".to_vec(), "not understood"),
        (b"{\"is\":7}\n".to_vec(), "not understood"),
        (b"{\"is\":\"done\"}\n".to_vec(), "missing field `code`"),
        (b"{\"is\":\"done\",\"code\":999,\"message\":\"\"}\n".to_vec(), "not understood"),
        (b"{\"is\":\"status\",\"version\":\"x\"}\n".to_vec(), "not understood"),
        (status(version_2).into_bytes(), "speaks version 2 of the protocol"),
    ];
    for (answer, part) in cases {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let ended = Double::saying(answer).ctl("status a --json");
        assert_eq!(ended.code, Some(1), "{shown}: {ended:?}");
        assert!(ended.err.contains(part), "{shown}: {}", ended.err);
        assert_eq!(ended.err.lines().count(), 1);
    }
}

#[test]
fn an_answer_that_ends_too_early_is_told() {
    for (answer, part) in [
        ("", "before the answer was complete"),
        ("{\"is\":\"sta", "in the middle of a line"),
        (
            "{\"is\":\"progress\",\"unit\":\"a\",\"state\":\"stopping\",\"sentence\":\"\"}\n",
            "before",
        ),
    ] {
        let double = Double::new(move |mut peer| {
            peer.request();
            peer.send(answer);
        });
        let ended = double.ctl("stop a");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(part), "{}", ended.err);
        assert!(ended.err.contains("`pisup ctl status` tells"));
        double.join();
    }
}

#[test]
fn an_answer_without_end_is_refused() {
    let double = Double::new(|mut peer| {
        peer.request();
        while peer.send(vec![b'x'; 1 << 20]) {}
    });
    let ended = double.ctl("status");
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("the answer is too long"), "{}", ended.err);
    double.join();
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let double = Double::new(|mut peer| {
        peer.request();
        let line = LogDoc { unit: "a".to_owned(), line: "x".repeat(500), ..LogDoc::default() };
        while peer.send(Reply::Log(line.clone()).to_line()) {}
    });
    let mut child =
        double.run.ctl("logs -f a").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let ended = Ended::wait(child);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    double.join();
}

#[test]
fn a_full_disk_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let double = Double::saying(status(node()));
    let output = double.run.ctl("status").stdout(full).output().unwrap();
    let ended = Ended::of(&output);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("No space left on device"), "{}", ended.err);
    double.join();
}

#[test]
fn lines_of_more_than_one_unit_carry_its_name() {
    let log = |unit: &str, line: &str| {
        let (unit, line) = (unit.to_owned(), line.to_owned());
        Reply::Log(LogDoc { unit, line, ..LogDoc::default() }).to_line()
    };
    let answer = log("etcd", "one") + &log("flannel", "two") + &done(0, "");
    for (line, expected) in [
        ("logs etcd flannel", "etcd    | one\nflannel | two\n"),
        ("logs", "etcd | one\nflannel | two\n"),
        ("logs etcd", "one\ntwo\n"),
    ] {
        let double = Double::saying(answer.clone());
        assert_eq!(double.ctl(line).out, expected, "{line}");
        double.join();
    }
    let line = "{\"at_ms\":0,\"wall\":\"\",\"unit\":\"etcd\",\"line\":\"one\"}\n";
    assert!(Double::saying(answer).ctl("logs --json").out.starts_with(line));
}

#[test]
fn what_cannot_be_asked_is_not_sent() {
    let double = Double::saying(done(0, ""));
    let units = "a ".repeat(20_000);
    let ended = double.ctl(&format!("start {units}"));
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("too many names"), "{}", ended.err);
    double.join();
}
