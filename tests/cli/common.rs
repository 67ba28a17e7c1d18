//! What all of these tests need: a node in trouble, and lines as the supervisor sends them.

use std::process::Command;

use pisup::wire::ctl::{Done, ExitDoc, Progress, Reply, StatusDoc, SupervisorDoc, UnitDoc};

use super::double::Ended;

pub fn golden(name: &str, found: &str) {
    let path = format!("{}/tests/cli/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} (BLESS=1 writes it anew):\n{found}\nnot:\n{expected}");
}

pub fn pisup(line: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
    Ended::of(&command.args(line.split_whitespace()).output().unwrap())
}

pub fn done(code: u8, message: &str) -> String {
    Reply::Done(Done { code, message: message.to_owned() }).to_line()
}

pub fn progress(unit: &str, state: &str, sentence: &str) -> String {
    let (unit, state, sentence) = (unit.to_owned(), state.to_owned(), sentence.to_owned());
    Reply::Progress(Progress { unit, state, sentence }).to_line()
}

pub fn unit(name: &str, state: &str, cause: &str) -> UnitDoc {
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
pub fn node() -> StatusDoc {
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

pub fn status(doc: StatusDoc) -> String {
    Reply::Status(doc).to_line() + &done(0, "")
}
