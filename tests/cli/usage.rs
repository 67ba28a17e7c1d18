//! The command line: its help, and what is wrong with it.

use super::common::{done, golden, pisup};
use super::double::Double;

#[test]
fn help_is_a_golden_text() {
    for (line, name) in [
        ("--help", "help.txt"),
        ("ctl --help", "help-ctl.txt"),
        ("ctl restart --help", "help-restart.txt"),
        ("setup worker --help", "help-setup.txt"),
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
fn what_cannot_be_asked_is_not_sent() {
    let double = Double::saying(done(0, ""));
    let units = "a ".repeat(20_000);
    let ended = double.ctl(&format!("start {units}"));
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("too many names"), "{}", ended.err);
    double.join();
}
