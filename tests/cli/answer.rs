//! Whoever answers, or does not: an exit code and a sentence.

use std::os::unix::net::UnixListener;

use pisup::wire::ctl::{ErrorDoc, Reply, StatusDoc};

use super::common::{node, status};
use super::double::{Double, Ended, Run};

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
