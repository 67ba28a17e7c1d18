//! Who gets in, who gets out, and with what: the doors of the threat model in ARCHITECTURE.md.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::harness::*;

const PLAIN: &str = "[command]\nexec = [\"sleep\", \"1000\"]\n";
const ASKERS: &str = "[control]\nread-group = \"4712\"\n";

/// Runs `pisup ctl` as somebody who is nobody, but for that group.
fn as_member(group: &str, words: &[&str]) -> Ended {
    // Where the program was built may be nobody's business.
    let program = path("pisup");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_pisup"), &program).unwrap();
    }
    let ids = ["--reuid", "65534", "--regid", "65534", "--groups", group];
    let mut command = Command::new("setpriv");
    command.args(ids).arg(program).arg("--run").arg(path("run")).arg("ctl").args(words);
    run(&mut command)
}

fn asking() -> (Node, u32) {
    let mut node = Node::new();
    node.unit("up", "[command]\nexec = [\"sh\", \"-c\", \"echo said; exec sleep 1000\"]\n");
    node.node_toml(ASKERS);
    node.start();
    let pid = node.ready("up");
    (node, pid)
}

pub fn strangers_may_not_even_ask() {
    let (node, pid) = asking();
    for words in [&["status"][..], &["stop", "up"], &["logs"], &["shutdown"]] {
        let refused = as_member("4713", words).expect_code(5);
        assert!(refused.err.contains("no permission"), "{refused:?}");
    }
    assert_eq!(node.ready("up"), pid);
}

pub fn members_of_the_read_group_may_ask_and_not_tell() {
    let (node, pid) = asking();
    let socket = fs::metadata(path("run/query.sock")).unwrap();
    assert_eq!((socket.permissions().mode() & 0o777, socket.gid()), (0o660, 4712));
    let shown = as_member("4712", &["status"]).expect_code(0);
    assert!(shown.out.contains("up"), "{shown:?}");
    assert!(as_member("4712", &["logs", "up"]).expect_code(0).out.contains("said"));
    as_member("4712", &["why", "up"]).expect_code(0);
    as_member("4712", &["events"]).expect_code(0);
    for words in [
        &["stop", "up"][..],
        &["start", "up"],
        &["restart", "up"],
        &["reload", "up"],
        &["kill", "TERM", "up"],
        &["env", "up"],
        &["reload-config"],
        &["shutdown"],
        &["poweroff"],
        &["reboot"],
        &["upgrade"],
    ] {
        let refused = as_member("4712", words).expect_code(5);
        assert!(refused.err.contains("no permission"), "{words:?}: {refused:?}");
    }
    assert_eq!(node.ready("up"), pid);
    assert_eq!(node.of("up")["starts"], 1);
}

pub fn who_may_only_ask_crowds_out_nobody_else() {
    let (node, _) = asking();
    let mut patient = Wire::of(&node);
    let mut askers: Vec<UnixStream> =
        (0..200).map(|_| UnixStream::connect(path("run/query.sock")).unwrap()).collect();
    let last = askers.last_mut().unwrap();
    last.write_all(b"{\"v\":1,\"do\":\"why\",\"unit\":\"up\"}\n").unwrap();
    assert_eq!(last.read(&mut [0]).unwrap(), 1, "the youngest of them is served");
    // It was there before them all, and said nothing.
    assert_eq!(patient.ask("{\"v\":1,\"do\":\"status\"}")[0]["is"], "status");
}

pub fn a_right_that_is_taken_back_is_gone_at_once() {
    let (node, _) = asking();
    let mut asker = UnixStream::connect(path("run/query.sock")).unwrap();
    node.node_toml("");
    node.ctl(&["reload-config"]).expect_code(0);
    assert!(!path("run/query.sock").exists());
    assert_eq!(asker.read(&mut [0]).unwrap_or(0), 0, "closed");
    as_member("4712", &["status"]).expect_code(5);
    node.node_toml("[control]\nread-group = \"no-such-group\"\n");
    node.ctl(&["reload-config"]).expect_code(0);
    until("it is told", || node.said().contains("group \"no-such-group\" is unknown"));
    node.node_toml(ASKERS);
    node.ctl(&["reload-config"]).expect_code(0);
    as_member("4712", &["status"]).expect_code(0);
}

/// A link in the place of everything that is written in the run and state directories.
pub fn no_link_is_followed_where_we_write() {
    write("target", "as it was");
    let untouched = || assert_eq!(read("target"), "as it was");
    let link = |name: &str| {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        symlink(path("target"), path(name)).unwrap();
    };
    let mut node = Node::new();
    let notifying = "[command]\nexec = [\"@double\", \"notify READY=1\", \"wait\"]\n\
                     [ready]\nnotify = true\n[restart]\nmax-delay = \"1s\"\n";
    node.unit("notifying", notifying);
    node.unit(
        "logging",
        "[command]\nexec = [\"sh\", \"-c\", \"echo hello; exec sleep 1000\"]\n\
         [log]\nfile = \"@dir/log/x.log\"\n",
    );
    node.unit(
        "exporting",
        "[command]\nexec = [\"sh\", \"-c\", \"echo A=1 >@dir/values; exec sleep 1000\"]\n\
         [exports]\nfile = \"@dir/values\"\nkeep = true\n",
    );
    for place in ["run/lock", "run/ctl.sock"] {
        link(place);
        let refused = run(node.command().arg("supervise")).expect_code(1);
        assert!(refused.err.contains(place), "{refused:?}");
        untouched();
        fs::remove_file(path(place)).unwrap();
    }
    for place in [
        "run/notify/notifying",
        "log/x.log",
        "state/exports/exporting.new",
        "state/exports/exporting",
    ] {
        link(place);
    }
    node.start();
    // The directory is the supervisor's alone, so what has the name there is replaced.
    node.ready("notifying");
    assert!(fs::symlink_metadata(path("run/notify/notifying")).unwrap().file_type().is_socket());
    node.ready("logging");
    until("the log file is refused", || node.said().contains("x.log"));
    node.until("exporting", |seen| seen["exports"]["A"] == "1");
    until("the copy is a file", || {
        fs::symlink_metadata(path("state/exports/exporting")).is_ok_and(|seen| seen.is_file())
    });
    untouched();
}

/// Whoever could put things there could speak for services, or say what values they get.
pub fn directories_of_others_are_refused() {
    let node = Node::new();
    node.unit("plain", PLAIN);
    fs::create_dir(path("elsewhere")).unwrap();
    for place in ["run", "state", "run/notify"] {
        let refused = |why: &str| {
            let ended = run(node.command().arg("supervise")).expect_code(1);
            assert!(ended.err.contains(why), "{place}: {ended:?}");
        };
        let folder = path(place);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
        refused("others can write to it");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&folder, Some(65534), None).unwrap();
        refused("it belongs to user 65534");
        fs::remove_dir_all(&folder).unwrap();
        symlink(path("elsewhere"), &folder).unwrap();
        refused("it is a symbolic link");
        fs::remove_file(&folder).unwrap();
    }
    assert_eq!(fs::read_dir(path("elsewhere")).unwrap().count(), 0);
}

/// Everything that is started for a unit, not only its service, has three descriptors and those
/// promised, no capability that the unit was not given, and the unit's user.
pub fn nothing_leaks_into_whatever_is_started() {
    let report = |name: &str| {
        format!(
            "[\"sh\", \"-c\", \"(cd /proc/self/fd; echo *; grep -E '^(Uid|CapPrm|CapAmb|CapBnd|\
             NoNewPrivs)' /proc/self/status) >@dir/seen/{name}.new; \
             mv @dir/seen/{name}.new @dir/seen/{name}\"]"
        )
    };
    fs::create_dir(path("seen")).unwrap();
    fs::set_permissions(path("seen"), fs::Permissions::from_mode(0o777)).unwrap();
    let rights = "user = \"nobody\"\nno-new-privileges = true\ncapabilities = []\n";
    let service = report("service").replace("\"]", "; exec sleep 1000\"]");
    let node = Node::with(&[(
        "watched",
        &format!(
            "[command]\nexec = {service}\n{rights}[[prepare]]\nexec = {}\n[ready]\nexec = {}\n\
             [health]\nexec = {}\nevery = \"200ms\"\n[reload]\nexec = {}\n[stop]\nexec = {}\n\
             [log]\nfile = \"@dir/log/watched.log\"\n",
            report("prepare"),
            report("ready"),
            report("health"),
            report("reload"),
            report("stop"),
        ),
    )]);
    node.ready("watched");
    node.ctl(&["reload", "watched"]).expect_code(0);
    until("its health was looked at", || path("seen/health").exists());
    node.ctl(&["stop", "watched"]).expect_code(0);
    let few = "Uid: 65534 65534 65534 65534 CapPrm: 0000000000000000 \
                  CapBnd: 0000000000000000 CapAmb: 0000000000000000 NoNewPrivs: 1";
    for name in ["prepare", "service", "ready", "health", "reload", "stop"] {
        let seen = read(&format!("seen/{name}"));
        let (open, own) = seen.split_once('\n').unwrap_or_default();
        // The fourth is what lists them.
        assert!(["0 1 2", "0 1 2 3"].contains(&open), "{name}: {seen}");
        assert_eq!(own.split_whitespace().collect::<Vec<_>>().join(" "), few, "{name}");
    }
}

/// Not only the bit: a program that makes root of whoever runs it does not.
pub fn no_new_privileges_are_none() {
    let id = run(Command::new("sh").args(["-c", "command -v id"]));
    fs::copy(id.out.trim(), path("id")).unwrap();
    fs::set_permissions(path("id"), fs::Permissions::from_mode(0o4755)).unwrap();
    let unit = "[unit]\nkind = \"oneshot\"\n[command]\nexec = [\"@dir/id\", \"-u\"]\n\
                user = \"nobody\"\n";
    let node =
        Node::with(&[("raised", unit), ("bound", &format!("{unit}no-new-privileges = true\n"))]);
    for (name, seen) in [("raised", "0"), ("bound", "65534")] {
        node.until_state(name, "done");
        assert_eq!(node.lines(name), [seen], "{name}");
    }
}
