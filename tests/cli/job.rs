//! Jobs: the plan, the progress, the end, and what ends the waiting before it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;

use pisup::wire::ctl::{ChangeDoc, PlanDoc, PlanStep, Reply, StepKind};

use super::common::{done, progress};
use super::double::{Double, Ended, PATIENCE};

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
fn who_does_not_wait_says_so_to_the_supervisor() {
    for (line, request) in [
        ("start a --no-wait", r#"{"v":1,"do":"start","units":["a"],"no_wait":true}"#),
        ("stop --no-wait a b", r#"{"v":1,"do":"stop","units":["a","b"],"no_wait":true}"#),
        ("restart --no-wait a", r#"{"v":1,"do":"restart","units":["a"],"no_wait":true}"#),
        ("reload --no-wait a", r#"{"v":1,"do":"reload","units":["a"],"no_wait":true}"#),
        ("reload-config --no-wait", r#"{"v":1,"do":"reload-config","no_wait":true}"#),
        ("shutdown --no-wait", r#"{"v":1,"do":"shutdown","no_wait":true}"#),
        ("kill HUP a", r#"{"v":1,"do":"kill","unit":"a","signal":"HUP"}"#),
    ] {
        let double = Double::saying(done(0, "it is under way"));
        let ended = double.ctl(line);
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "it is under way\n"), "{line}");
        assert_eq!(double.requests.recv().unwrap(), request);
        double.join();
    }
    // What does not wait has no reason to take long, and a supervisor that hangs is told.
    let ended = Double::saying("").ctl("start a --no-wait --timeout 200ms");
    assert_eq!(ended.code, Some(6));
    assert!(ended.err.contains("no answer within 200ms"), "{}", ended.err);
}

#[test]
fn a_new_configuration_is_told_by_unit_before_its_plan() {
    let change =
        |unit: &str, what: &str| ChangeDoc { unit: unit.to_owned(), what: what.to_owned() };
    let doc = PlanDoc {
        plan: vec![],
        changes: vec![change("", "shutdown changed"), change("web", "added")],
    };
    let answer = Reply::Plan(doc).to_line() + &done(0, "");
    let double = Double::saying(answer.clone());
    let ended = double.ctl("reload-config --dry-run");
    assert_eq!(ended.out, "node: shutdown changed\nweb: added\nnothing to do\n");
    assert_eq!(double.requests.recv().unwrap(), r#"{"v":1,"do":"reload-config","dry_run":true}"#);
    double.join();
    assert_eq!(
        Double::saying(answer).ctl("reload-config --dry-run --json").out,
        "{\"plan\":[],\"changes\":[{\"unit\":\"\",\"what\":\"shutdown changed\"},\
         {\"unit\":\"web\",\"what\":\"added\"}]}\n"
    );
}

#[test]
fn a_step_that_may_not_happen_says_when_it_does() {
    let step = PlanStep {
        kind: StepKind::Prepare,
        unit: "docker".to_owned(),
        because: "flannel is restarted".to_owned(),
        condition: Some("FLANNEL_SUBNET changes".to_owned()),
    };
    let answer =
        Reply::Plan(PlanDoc { plan: vec![step], changes: vec![] }).to_line() + &done(0, "");
    assert_eq!(
        Double::saying(answer.clone()).ctl("restart flannel --dry-run").out,
        "prepare  docker  flannel is restarted (only if FLANNEL_SUBNET changes)\n"
    );
    assert_eq!(
        Double::saying(answer).ctl("restart flannel --dry-run --json").out,
        "{\"plan\":[{\"do\":\"prepare\",\"unit\":\"docker\",\
         \"because\":\"flannel is restarted\",\"if\":\"FLANNEL_SUBNET changes\"}]}\n"
    );
}

#[test]
fn a_job_that_moves_no_process_is_not_called_nothing() {
    let answer = Reply::Plan(PlanDoc::default()).to_line()
        + &progress("web", "down", "stopped by name")
        + &done(0, "web is down");
    let ended = Double::saying(answer).ctl("stop web");
    assert_eq!(ended.out, "web is down: stopped by name\nweb is down\n");
    let answer = Reply::Plan(PlanDoc::default()).to_line() + &done(0, "");
    assert_eq!(Double::saying(answer).ctl("stop web --dry-run").out, "nothing to do\n");
}
