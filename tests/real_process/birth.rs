//! The state that services are born in, as the unit says and the kernel tells.

use crate::harness::*;

pub fn what_cannot_be_executed_is_said_in_a_sentence() {
    let node = Node::with(&[
        ("absent", "[command]\nexec = [\"no-such-daemon\"]\nenv = { PATH = \"/bin:/sbin\" }\n"),
        ("folder", "[command]\nexec = [\"/etc\"]\n"),
        ("script", "[command]\nexec = [\"@dir/script\"]\n"),
        ("nowhere", "[command]\nexec = [\"true\"]\ndirectory = \"/no/where\"\n"),
        ("nobody", "[command]\nexec = [\"true\"]\nuser = \"no-such-user\"\n"),
    ]);
    for (unit, sentence) in [
        (
            "absent",
            "no-such-daemon: not found in PATH (tried /bin/no-such-daemon, /sbin/no-such-daemon)",
        ),
        ("folder", "/etc: permission denied: it is a directory"),
        ("script", "@dir/script: no such file"),
        ("nowhere", "cannot enter directory /no/where: no such file or directory"),
        ("nobody", "user \"no-such-user\" is unknown"),
    ] {
        let seen = node.until_state(unit, "backoff");
        let sentence = sentence.replace("@dir", folder().to_str().unwrap());
        assert_eq!(seen["cause"].as_str(), Some(sentence.as_str()));
        assert!(seen["retry_in_ms"].as_u64().is_some(), "{seen:#}");
        assert_eq!(seen["pid"].as_u64(), None);
        let why = node.ctl(&["start", unit]).expect_code(1);
        assert!(why.err.contains(&sentence) || why.out.contains(&sentence), "{why:?}");
    }
    // What was missing appears, and nobody has to say so.
    write("script", "#!/bin/sh\nexec sleep 1000\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path("script"), mode).unwrap();
    node.ready("script");
}

/// A supervisor in a strange state itself: ignored signals, open files, an environment and a mask
/// of an outer init.
fn start_strangely(node: &mut Node) {
    let script = "trap '' HUP USR1 USR2 PIPE TSTP; ulimit -c 0; umask 077; cd /usr; \
                  exec 7</etc/passwd; exec \"$@\"";
    node.start_by(&["sh", "-c", script, "sh"], |command| {
        command.envs([
            ("NOTIFY_SOCKET", "/run/outer/notify"),
            ("LISTEN_FDS", "3"),
            ("LISTEN_PID", "1"),
            ("WATCHDOG_USEC", "1"),
            ("SECRET", "of the outer world"),
        ]);
    });
}

pub fn nothing_of_the_supervisor_is_inherited() {
    let mut node = Node::new();
    node.unit("plain", "[command]\nexec = [\"sleep\", \"1000\"]\n");
    start_strangely(&mut node);
    assert_ne!(proc_status(node.pid(), "SigIgn"), "0000000000000000", "it ignores TSTP");
    let pid = node.ready("plain");
    assert_eq!(stat(pid, 5), pid, "own session");
    assert_eq!(stat(pid, 4), pid, "own group");
    assert_eq!(stat(pid, 3), node.pid(), "parent");
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(proc_status(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(proc_status(pid, "Umask"), "0022");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(environment(pid), ["HOME=/root", path, "USER=root"]);
    let open = has_open(pid, &[0, 1, 2]);
    assert_eq!(open[0].1, "/dev/null");
    assert!(open[1].1.starts_with("pipe:") && open[1].1 == open[2].1, "{open:?}");
}

/// A field of `/proc/PID/stat` behind the name; the state is field 2 there.
fn stat(pid: u32, field: usize) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = text.rsplit_once(") ").unwrap().1.to_owned();
    rest.split(' ').nth(field - 2).unwrap().parse().unwrap()
}

pub fn what_was_promised_is_open_and_nothing_else() {
    let node = Node::with(&[(
        "promised",
        "[socket]\nlisten = [\"@dir/a.sock\", \"tcp:127.0.0.1:4711\"]\nnames = [\"a\", \"b\"]\n\
         [command]\nexec = [\"@double\", \"newline 9\", \"notify READY=1\", \"wait\"]\n\
         [ready]\nfd = 9\nnotify = true\n[health]\nwatchdog = \"1h\"\n",
    )]);
    let pid = node.ready("promised");
    has_open(pid, &[0, 1, 2, 3, 4, 9]);
    let env = environment(pid);
    let has = |text: String| assert!(env.contains(&text), "{text}: {env:?}");
    has(format!("LISTEN_PID={pid}"));
    has("LISTEN_FDS=2".to_owned());
    has("LISTEN_FDNAMES=a:b".to_owned());
    has(format!("NOTIFY_SOCKET={}", path("run/notify/promised").display()));
    has("WATCHDOG_USEC=3600000000".to_owned());
}

pub fn user_and_groups_apply() {
    let node = Node::with(&[
        ("user", "[command]\nexec = [\"sleep\", \"1000\"]\nuser = \"nobody\"\n"),
        (
            "group",
            "[command]\nexec = [\"sleep\", \"1000\"]\nuser = \"nobody\"\ngroup = \"daemon\"\n\
             groups = [\"tty\", \"4711\"]\n",
        ),
        ("alone", "[command]\nexec = [\"sleep\", \"1000\"]\ngroups = []\n"),
    ]);
    let ids = |unit: &str, key: &str| proc_status(node.ready(unit), key);
    assert_eq!(ids("user", "Uid"), "65534 65534 65534 65534");
    assert_eq!(ids("user", "Gid"), "65534 65534 65534 65534");
    assert_eq!(ids("user", "CapEff"), "0000000000000000");
    let env = environment(node.ready("user"));
    assert!(env.contains(&"USER=nobody".to_owned()), "{env:?}");
    assert!(env.contains(&"HOME=/nonexistent".to_owned()), "{env:?}");
    assert_eq!(ids("group", "Gid"), "1 1 1 1");
    assert_eq!(ids("group", "Groups"), "5 4711");
    assert_eq!((ids("alone", "Uid"), ids("alone", "Groups")), ("0 0 0 0".into(), String::new()));
}

pub fn limits_and_priorities_apply() {
    let node = Node::with(&[(
        "bounded",
        "[command]\nexec = [\"sleep\", \"1000\"]\numask = \"027\"\ndirectory = \"/usr/bin\"\n\
         nice = 7\nionice = \"idle\"\noom-score-adj = 321\ncpus = \"0\"\n\
         limits = { nofile = 123, core = 0 }\n",
    )]);
    let pid = node.ready("bounded");
    assert_eq!(proc_status(pid, "Umask"), "0027");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/usr/bin"));
    assert_eq!(stat(pid, 18), 7, "nice");
    assert_eq!(proc_status(pid, "Cpus_allowed_list"), "0");
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    assert_eq!(read("oom_score_adj").trim(), "321");
    let limits = read("limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[26..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((limit("Max open files"), limit("Max core file")), ("123 123".into(), "0 0".into()));
    let ionice = run(std::process::Command::new("ionice").args(["-p", &pid.to_string()]));
    assert_eq!(ionice.out.trim(), "idle");
}

pub fn rights_are_dropped() {
    let node = Node::with(&[
        (
            "few",
            "[command]\nexec = [\"sleep\", \"1000\"]\ncapabilities = [\"NET_BIND_SERVICE\", \
             \"CAP_KILL\"]\nno-new-privileges = true\n",
        ),
        (
            "bound",
            "[command]\nexec = [\"sleep\", \"1000\"]\nuser = \"nobody\"\n\
             capabilities = [\"NET_BIND_SERVICE\"]\n",
        ),
        ("none", "[command]\nexec = [\"sleep\", \"1000\"]\ncapabilities = []\n"),
        ("all", "[command]\nexec = [\"sleep\", \"1000\"]\n"),
    ]);
    let number = |unit: &str, key: &str| {
        u64::from_str_radix(&proc_status(node.ready(unit), key), 16).unwrap()
    };
    let few = 1 << 10 | 1 << 5;
    assert_eq!((number("few", "CapEff"), number("few", "CapBnd")), (few, few));
    assert_eq!(number("few", "CapPrm"), few);
    assert_eq!(proc_status(node.ready("few"), "NoNewPrivs"), "1");
    assert_eq!((number("bound", "CapEff"), number("bound", "CapAmb")), (1 << 10, 1 << 10));
    assert_eq!((number("none", "CapEff"), number("none", "CapBnd")), (0, 0));
    let own = proc_status(node.pid(), "CapEff");
    assert_eq!(proc_status(node.ready("all"), "CapEff"), own);
    assert_eq!(proc_status(node.ready("all"), "NoNewPrivs"), "0");
}

pub fn environment_files_are_read_at_every_start() {
    let mut node = Node::new();
    node.unit(
        "service",
        "[command]\nexec = [\"sleep\", \"1000\"]\nenv = { WINS = \"unit\" }\n\
         env-file = [\"@dir/env\", \"-@dir/absent\"]\n[restart]\ndelay = \"100ms\"\n",
    );
    node.start();
    let seen = node.until_state("service", "backoff");
    let sentence = format!("env-file: {}: no such file or directory", path("env").display());
    assert!(seen["cause"].as_str().unwrap().contains(&path("env").display().to_string()));
    assert!(seen["cause"].as_str().unwrap().ends_with("no such file or directory"), "{sentence}");
    write("env", "# one\nA=\"1 2\"\nWINS=file\nNOTIFY_SOCKET=/x\nthis is no line\n");
    let pid = node.ready("service");
    let env = environment(pid);
    assert!(env.contains(&"A=1 2".to_owned()) && env.contains(&"WINS=unit".to_owned()));
    assert!(!env.iter().any(|line| line.starts_with("NOTIFY_SOCKET")));
    let notes = node.of("service")["notes"].to_string();
    assert!(notes.contains("went on without its environment file"), "{notes}");
    assert!(notes.contains(&format!("{}: line 5", path("env").display())), "{notes}");
    write("env", "A=3\n");
    node.ctl(&["restart", "service"]).expect_code(0);
    assert!(environment(node.ready("service")).contains(&"A=3".to_owned()));
}
