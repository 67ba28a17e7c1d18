//! What depends on how the supervisor itself was started: this program runs one of its own tests
//! again, in a strange state.

use std::env;
use std::path::PathBuf;

use pisup::sys::spawn::resource;
use pisup::sys::user::Ids;
use rustix::process::{Rlimit, setrlimit};

use super::*;

/// Where the inner run writes what it saw.
const REPORT: &str = "PISUP_TEST_REPORT";

/// Runs the named test of this program through a shell that changes its own state first.
fn run_inner(test: &str, prefix: &str, change: impl Fn(&mut Request<'_>)) -> Option<String> {
    let report = env::temp_dir().join(format!("pisup-{test}-{}", std::process::id()));
    fs::write(&report, "").unwrap();
    fs::set_permissions(&report, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let program = env::current_exe().unwrap();
    let script =
        format!("{prefix} exec {} --exact nested::{test} --test-threads=1", program.display());
    let mut request = shell(&script);
    request.env.push((REPORT.to_owned(), report.to_str().unwrap().to_owned()));
    change(&mut request);
    let exit = run(request).1;
    let text = fs::read_to_string(&report).unwrap();
    fs::remove_file(report).unwrap();
    (exit == Exit::Code(0)).then_some(text)
}

fn report() -> Option<PathBuf> {
    env::var_os(REPORT).map(PathBuf::from)
}

/// Only of use inside the next test.
#[test]
fn inner_odd_state() {
    let Some(report) = report() else { return };
    let living = Living::new(Request::new(Vec::new()));
    let sets = ["SigBlk", "SigIgn", "SigCgt"].map(|set| living.status(set));
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = own.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    fs::write(report, format!("{:?} {} {ignored}", living.fds(), sets.join(" "))).unwrap();
}

#[test]
fn closed_descriptors_and_ignored_signals_are_not_inherited() {
    let _alone = alone();
    let prefix = "trap '' HUP INT USR1 TERM TSTP; exec 0<&- 1>&- 2>&-;";
    let text = run_inner("inner_odd_state", prefix, |_| {}).unwrap();
    let (fds, sets) = text.split_once("] ").unwrap();
    assert_eq!(fds, "[0, 1, 2");
    let (clean, own) = sets.rsplit_once(' ').unwrap();
    assert_eq!(clean, "0000000000000000 0000000000000000 0000000000000000");
    // The supervisor did ignore them: HUP, INT, USR1, PIPE, TERM, TSTP.
    let bits = [1, 2, 10, 13, 15, 20].iter().fold(0_u64, |all, signal| all | 1 << (signal - 1));
    assert_eq!(u64::from_str_radix(own, 16).unwrap() & bits, bits);
}

#[test]
fn a_blocked_mask_is_not_inherited() {
    use nix::sys::signal::SigSet;
    let _alone = alone();
    let all = SigSet::all();
    all.thread_block().unwrap();
    let before: Vec<_> = SigSet::thread_get_mask().unwrap().iter().collect();
    let living = Living::new(Request::new(Vec::new()));
    let after: Vec<_> = SigSet::thread_get_mask().unwrap().iter().collect();
    assert_eq!(after, before, "the supervisor's own mask is put back");
    all.thread_unblock().unwrap();
    assert_eq!(living.status("SigBlk"), "0000000000000000");
}

/// Only of use inside the next test.
#[test]
fn inner_no_more_processes() {
    let Some(report) = report() else { return };
    let one = Rlimit { current: Some(1), maximum: Some(1) };
    setrlimit(resource("nproc").unwrap(), one).unwrap();
    let error = spawn(&Request::new(words(&["true"]))).unwrap_err();
    fs::write(report, format!("{} {error}", error.is_transient())).unwrap();
}

#[test]
fn a_full_process_table_is_transient() {
    let _alone = alone();
    let text = run_inner("inner_no_more_processes", "", |request| {
        if rustix::process::geteuid().is_root() {
            // The limit does not bind root.
            request.ids = Some(Ids { uid: 54_321, gid: 54_321, groups: Vec::new() });
        }
    });
    let expected =
        "true true: cannot make a process: the limit of processes is reached; tried again later";
    match text {
        Some(text) => assert_eq!(text, expected),
        None => skipped("a full process table", "another user cannot execute this test"),
    }
}
