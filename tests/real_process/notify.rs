//! What is said on notify sockets, by whom, and what is not believed.

use std::os::unix::net::UnixDatagram;

use crate::harness::*;
use crate::runner::has_groups;

fn notifying(deeds: &str, more: &str) -> String {
    format!("[command]\nexec = [\"@double\", {deeds}]\n[ready]\nnotify = true\n{more}")
}

fn status_text(node: &Node, unit: &str, text: &str) {
    node.until(unit, |seen| seen["status_text"] == text);
}

pub fn a_stranger_is_not_believed_but_counted() {
    let node = Node::with(&[("service", &notifying("\"wait\"", ""))]);
    node.until("service", |seen| !seen["pid"].is_null());
    let socket = UnixDatagram::unbound().unwrap();
    for _ in 0..3 {
        socket
            .send_to(b"READY=1\nSTATUS=taken over\nMAINPID=1", path("run/notify/service"))
            .unwrap();
    }
    let text = "3 notify messages from strangers ignored, the last from pid 1";
    let seen = node.until("service", |seen| seen["notes"].to_string().contains(text));
    assert_eq!(seen["state"], "starting");
    assert_eq!(seen["status_text"], serde_json::Value::Null);
}

pub fn a_process_of_another_unit_is_a_stranger_too() {
    let node = Node::with(&[
        ("quiet", &notifying("\"wait\"", "")),
        (
            "forger",
            "[command]\nexec = [\"env\", \"NOTIFY_SOCKET=@dir/run/notify/quiet\", \"@double\", \
             \"notify READY=1\", \"wait\"]\n",
        ),
    ]);
    let seen = node.until("quiet", |seen| seen["notes"].to_string().contains("strangers"));
    assert_eq!(seen["state"], "starting");
    assert!(!path("run/notify/forger").exists(), "where nobody asked there is no socket");
}

pub fn a_child_of_the_unit_may_speak_for_it() {
    let node = Node::with(&[
        ("child", &notifying("\"fork notify READY=1; wait\", \"wait\"", "")),
        ("orphan", &notifying("\"fork session; fork notify READY=1\", \"wait\"", "")),
        ("gone", &notifying("\"fork session; notify STATUS=bye; notify READY=1\", \"wait\"", "")),
    ]);
    node.ready("child");
    if has_groups() {
        node.ready("orphan");
    }
    // One that is gone when it is heard cannot be told from a stranger: either is right.
    node.until("gone", |seen| {
        seen["state"] == "ready" || seen["notes"].to_string().contains("strangers")
    });
    assert!(!node.of("child")["notes"].to_string().contains("strangers"));
}

/// What no service should say, one deed each.
const BAD: &[&str] = &[
    "notify-hex",
    "notify-hex 00",
    "notify-hex ff fe fd 80 81",
    "notify-hex 52 45 41 44 59 3d 31 00 00 00",
    "notify-hex 0a 0a 0a 0a",
    "notify =",
    "notify =1",
    "notify READY",
    "notify READY=",
    "notify READY=2",
    "notify ready=1",
    "notify MAINPID=1",
    "notify MAINPID=0",
    "notify MAINPID=-1",
    "notify MAINPID=99999999999999999999",
    "notify MAINPID=4194303",
    "notify-main @dir/foreign",
    "notify-main @dir/supervisor",
    "notify WATCHDOG_USEC=soon",
    "notify EXTEND_TIMEOUT_USEC=-5",
    "notify EXTEND_TIMEOUT_USEC=18446744073709551615",
    "notify ERRNO=7\\\\nFDSTORE=1\\\\nFDNAME=x\\\\nBUSERROR=a.b.c",
    "notify FDSTOREREMOVE=1\\\\nMONOTONIC_USEC=1",
    "notify X_PISUP_CONTAINER_PID=x",
    "notify-long 4096",
    "notify-long 60000",
    "notify-descriptors 1",
    "notify-descriptors 200",
    "notify-flood 10000",
];

pub fn bad_messages_of_many_kinds_move_nothing() {
    let bad: String = BAD.iter().map(|deed| format!("\"{deed}\", ")).collect();
    let deeds = format!(
        "\"notify READY=1\", \"notify STATUS=fine\", \"barrier\", \"await-file @dir/go\", {bad} \
         \"barrier\", \"append @dir/said all\", \"wait\""
    );
    let node = Node::with(&[
        ("other", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
        ("mouthy", &notifying(&deeds, "[restart]\npolicy = \"never\"\n")),
    ]);
    let (other, mouthy) = (node.ready("other"), node.ready("mouthy"));
    status_text(&node, "mouthy", "fine");
    write("foreign", &other.to_string());
    write("supervisor", &node.pid().to_string());
    let before = descriptors(node.pid()).len();
    write("go", "");
    until("all was said and taken", || read("said") == "all\n");
    let seen = node.of("mouthy");
    assert_eq!((node.ready("other"), node.ready("mouthy")), (other, mouthy));
    assert_eq!((&seen["status_text"], &seen["failures"]), (&"fine".into(), &0.into()));
    let notes = seen["notes"].to_string() + &node.said();
    for part in [
        "MAINPID=1 ignored: not a process of this unit",
        "MAINPID=4194303 ignored: not a process of this unit",
        &format!("MAINPID={other} ignored"),
        &format!("MAINPID={} ignored", node.pid()),
        "a notify message that is no number ignored: MAINPID=0",
        "a notify message that is no number ignored: MAINPID=-1",
        "a notify message that is no number ignored: WATCHDOG_USEC=soon",
        "a notify message of more than 4096 bytes ignored",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    until("descriptors that came along are closed", || descriptors(node.pid()).len() <= before);
    let lines = node.said().lines().count();
    assert!(lines < 100, "the log is not flooded: {lines} lines");
}

pub fn an_oversized_message_makes_nobody_ready() {
    let deeds = "\"notify-long 9000\", \"barrier\", \"append @dir/said x\", \"wait\"";
    let node = Node::with(&[("boaster", &notifying(deeds, ""))]);
    until("it was taken", || !read("said").is_empty());
    let seen = node.of("boaster");
    assert_eq!(seen["state"], "starting", "{seen:#}");
    assert!(seen["notes"].to_string().contains("more than 4096 bytes"), "{seen:#}");
}

pub fn more_time_is_granted_when_asked_for() {
    let start = "\"notify EXTEND_TIMEOUT_USEC=60000000\", \"sleep 4000\", \"notify READY=1\"";
    let stop = "\"trap TERM\", \"notify READY=1\", \"await\", \
                \"notify EXTEND_TIMEOUT_USEC=60000000\", \"sleep 4000\", \"exit 5\"";
    let patience = "timeout = \"3s\"\n";
    let node = Node::with(&[
        ("starting", &notifying(&format!("{start}, \"wait\""), patience)),
        ("stopping", &notifying(stop, &format!("[stop]\n{patience}"))),
        ("neither", &notifying("\"sleep 4000\", \"wait\"", patience)),
    ]);
    node.ready("starting");
    assert_eq!(node.of("starting")["starts"], 1);
    node.until("neither", |seen| seen["failures"].as_u64() > Some(0));
    node.ready("stopping");
    node.ctl(&["stop", "stopping"]).expect_code(0);
    assert_eq!(node.of("stopping")["exit"]["code"], 5);
}

pub fn what_a_service_says_of_itself_is_shown() {
    let deeds = "\"notify STATUS=loading 7 of 9\", \"barrier\", \"await-file @dir/1\", \
                 \"notify READY=1\\\\nSTATUS=serving\", \"barrier\", \"await-file @dir/2\", \
                 \"notify RELOADING=1\", \"barrier\", \"await-file @dir/3\", \
                 \"notify READY=1\", \"notify STATUS=again\", \"barrier\", \"await-file @dir/4\", \
                 \"notify STOPPING=1\", \"wait\"";
    let node = Node::with(&[("talking", &notifying(deeds, ""))]);
    status_text(&node, "talking", "loading 7 of 9");
    assert_eq!(node.of("talking")["state"], "starting");
    for (step, text) in
        [("1", "serving"), ("2", "reloading"), ("3", "again"), ("4", "stopping by itself")]
    {
        write(step, "");
        status_text(&node, "talking", text);
        assert_eq!(node.of("talking")["state"], "ready");
    }
    let shown = node.ctl(&["status", "talking"]).expect_code(0);
    assert!(shown.out.contains("stopping by itself"), "{shown:?}");
}

pub fn the_main_process_may_hand_over() {
    let deeds = "\"fork session; append @dir/child %pid; wait\", \"await-file @dir/child\", \
                 \"notify-main @dir/child\", \"notify READY=1\", \"barrier\", \
                 \"await-file @dir/go\", \"exit 0\"";
    let node = Node::with(&[("forking", &notifying(deeds, "[restart]\ndelay = \"100ms\"\n"))]);
    if !has_groups() {
        return note("no cgroup here: a child of another session cannot be named");
    }
    let child = node.ready("forking");
    assert_eq!(read("child").trim(), child.to_string());
    let seen = node.of("forking");
    let parent = u32::try_from(seen["pid"].as_u64().unwrap()).unwrap();
    assert_ne!(parent, child);
    write("go", "");
    until("the one that was started has ended", || !is_alive(parent));
    assert_eq!(node.ready("forking"), child, "its end is not the end of the service");
    std::fs::remove_file(path("go")).unwrap();
    std::fs::remove_file(path("child")).unwrap();
    kill("ABRT", child);
    let seen = node.until("forking", |seen| seen["state"] == "ready" && pid_of(seen) != child);
    assert_eq!(seen["exit"]["signal"], "ABRT");
    let named = pid_of(&seen);
    node.ctl(&["stop", "forking"]).expect_code(0);
    assert!(!is_alive(named));
}

pub fn who_gives_no_sign_of_life_is_restarted() {
    let watched = "[health]\nwatchdog = \"3s\"\n[restart]\ndelay = \"100ms\"\nstable = \"1h\"\n";
    let node = Node::with(&[
        ("lively", &notifying("\"beat 200\", \"notify READY=1\", \"wait\"", watched)),
        ("silent", &notifying("\"notify READY=1\", \"wait\"", watched)),
        (
            "honest",
            &notifying(
                "\"notify READY=1\", \"await-file @dir/go\", \"notify WATCHDOG=trigger\", \
                        \"wait\"",
                watched,
            ),
        ),
    ]);
    let (lively, honest) = (node.ready("lively"), node.ready("honest"));
    write("go", "");
    let causes = |unit: &str| node.events(unit).iter().map(ToString::to_string).collect::<String>();
    node.until("silent", |seen| seen["starts"].as_u64() >= Some(2));
    assert!(causes("silent").contains("gave no sign of life for 3s"));
    node.until("honest", |seen| seen["starts"].as_u64() >= Some(2));
    assert!(causes("honest").contains("it said so itself (WATCHDOG=trigger)"));
    assert!(!is_alive(honest));
    assert_eq!(node.ready("lively"), lively);
}
