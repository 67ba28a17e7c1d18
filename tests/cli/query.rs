//! Questions: documents to text, to JSON and to an exit code.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use pisup::ctl::show::{self, Look};
use pisup::wire::ctl::{EnvDoc, EventDoc, LogDoc, Reply, StatusDoc, SupervisorDoc, WhyDoc};

use super::common::{done, golden, node, status, unit};
use super::double::{Double, Ended, PATIENCE};

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
fn who_follows_sees_each_line_when_it_comes_until_the_time_is_over() {
    let double = Double::new(|mut peer| {
        peer.request();
        let log = |line: &str| {
            let (unit, line) = ("a".to_owned(), line.to_owned());
            Reply::Log(LogDoc { unit, line, ..LogDoc::default() }).to_line()
        };
        peer.send(log("old"));
        peer.send(log("new"));
        assert_eq!(peer.request(), None);
    });
    let ended = double.ctl("logs -f -n 5 a --timeout 500ms");
    assert_eq!((ended.code, ended.out.as_str()), (Some(6), "old\nnew\n"));
    assert_eq!(ended.err, "pisup: the time that --timeout gave is over\n");
    let request = r#"{"v":1,"do":"logs","units":["a"],"n":5,"follow":true}"#;
    assert_eq!(double.requests.recv().unwrap(), request);
    double.join();
}

#[test]
fn events_come_as_lines_while_they_are_followed() {
    let event = EventDoc {
        at_ms: 7,
        wall: "2024-01-01T00:00:00Z".to_owned(),
        unit: "a".to_owned(),
        from: "starting".to_owned(),
        to: "ready".to_owned(),
        cause: "ready".to_owned(),
    };
    let (gone, is_gone) = std::sync::mpsc::channel();
    let double = Double::new(move |mut peer| {
        peer.request();
        peer.send(Reply::Event(event).to_line());
        let _ = gone.send(peer.request());
    });
    let mut child = double
        .run
        .ctl("events -f --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let expected = concat!(
        r#"{"at_ms":7,"wall":"2024-01-01T00:00:00Z","unit":"a","from":"starting","#,
        r#""to":"ready","cause":"ready"}"#,
    );
    assert_eq!(line.trim_end(), expected);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = Ended::wait(child);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""), "^C is no failure to tell");
    assert_eq!(is_gone.recv_timeout(PATIENCE), Ok(None), "and the supervisor is left alone");
    double.join();
}

#[test]
fn reasons_and_environments_are_documents_too() {
    for (line, reply, json) in [
        (
            "why a --json",
            Reply::Why(WhyDoc { unit: "a".to_owned(), chain: vec![] }),
            r#"{"unit":"a","chain":[]}"#,
        ),
        (
            "env a --json",
            Reply::Env(EnvDoc { unit: "a".to_owned(), ..EnvDoc::default() }),
            r#"{"unit":"a","exec":[],"env":{},"values":{}}"#,
        ),
    ] {
        let double = Double::saying(reply.to_line() + &done(0, ""));
        let ended = double.ctl(line);
        assert_eq!((ended.code, ended.out.trim_end()), (Some(0), json));
        double.join();
    }
}

#[test]
fn no_colour_where_nobody_looks() {
    let double = Double::saying(status(node()));
    assert!(!double.ctl("status").out.contains('\x1b'));
    double.join();
}
