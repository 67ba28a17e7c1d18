//! `bridge-reset` and the questions about routes, on a real kernel in network namespaces of their
//! own. Every test runs itself again under `unshare --net`, so nothing of the machine's own
//! network is seen or touched; without root it says so and is skipped.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pisup::helper::Failure;
use pisup::helper::bridge::reset;
use pisup::sys::netlink::{Monitor, ask};
use pisup::wire::{netlink, network};
use rustix::process::{WaitId, WaitIdOptions, waitid};

const WANTED: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 1, 78, 1), 24);

/// Whether this is the inner one; otherwise runs it.
fn is_inside(test: &str) -> bool {
    if std::env::var_os("PISUP_TEST_INSIDE").is_some() {
        return true;
    }
    let is_root = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    if !is_root.is_ok_and(|status| status.success()) {
        let line = format!("skipped: {test} needs root, for a network namespace\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return false;
    }
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("PISUP_TEST_INSIDE", "1")
        .status();
    assert!(status.unwrap().success(), "{test} failed in its namespace");
    false
}

fn ip(line: &str) {
    for line in line.split(';') {
        let status = Command::new("ip").args(line.split_whitespace()).status().unwrap();
        assert!(status.success(), "ip {line}");
    }
}

fn is_there(name: &str) -> bool {
    network::link(name, to_kernel).unwrap().is_some()
}

fn to_kernel(request: &[u8]) -> std::io::Result<Vec<u8>> {
    ask(request, netlink::ends)
}

fn refused(name: &str) -> String {
    match reset(name, Some(WANTED)) {
        Err(Failure::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_old_bridge_is_deleted_with_its_ports_named() {
    if !is_inside("an_old_bridge_is_deleted_with_its_ports_named") {
        return;
    }
    assert_eq!(reset("docker0", None).unwrap(), "docker0 is absent: nothing to do");
    ip("link add docker0 type bridge; addr add 172.17.42.1/16 dev docker0; link set docker0 up");
    ip("link add veth1 type veth peer name eth1; link set veth1 master docker0");
    ip("link add vx type vxlan id 1 dstport 0; link set vx master docker0");
    assert_eq!(
        reset("docker0", Some(WANTED)).unwrap(),
        "docker0 had 172.17.42.1/16 and was deleted; container ports: veth1; foreign ports: vx"
    );
    assert!(!is_there("docker0") && is_there("veth1") && is_there("vx"));
    ip("link add docker0 type bridge");
    assert_eq!(reset("docker0", None).unwrap(), "docker0 had no address and was deleted");
    assert!(!is_there("docker0"));
}

#[test]
fn what_is_right_stays() {
    if !is_inside("what_is_right_stays") {
        return;
    }
    ip("link add docker0 type bridge; addr add 10.1.78.1/24 dev docker0");
    let answer = reset("docker0", Some(WANTED)).unwrap();
    assert_eq!(answer, "docker0 already has 10.1.78.1/24: left as it is");
    ip("link add veth1 type veth peer name eth1; link set veth1 master docker0");
    let answer = reset("docker0", Some(WANTED)).unwrap();
    let stays = "docker0 already has 10.1.78.1/24: left as it is; container ports: veth1";
    assert_eq!(answer, stays);
    assert!(is_there("docker0"));
    // Neither another address beside it nor a foreign port is right.
    ip("addr add 10.9.9.9/24 dev docker0");
    let answer = reset("docker0", Some(WANTED)).unwrap();
    let both = "docker0 had 10.1.78.1/24 and 10.9.9.9/24 and was deleted; container ports: veth1";
    assert_eq!(answer, both);
    ip("link add docker0 type bridge; addr add 10.1.78.1/16 dev docker0");
    assert!(reset("docker0", Some(WANTED)).unwrap().contains("was deleted"));
    ip("link add docker0 type bridge; addr add 10.1.78.1/24 dev docker0");
    ip("link add vx type vxlan id 1 dstport 0; link set vx master docker0");
    assert!(reset("docker0", Some(WANTED)).unwrap().ends_with("was deleted; foreign ports: vx"));
}

#[test]
fn what_is_not_a_bridge_is_refused() {
    if !is_inside("what_is_not_a_bridge_is_refused") {
        return;
    }
    ip("link add docker0 type vxlan id 1 dstport 0");
    assert_eq!(refused("docker0"), "docker0 is not a bridge (vxlan): left alone");
    assert_eq!(refused("lo"), "lo is not a bridge (a network card): left alone");
    assert!(is_there("docker0"));
}

/// A double of a container engine: a script of its name that waits until it is killed.
fn engine(arguments: &str) -> Child {
    let folder = std::env::temp_dir().join(format!("pisup-bridge-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("dockerd");
    std::fs::write(&program, "#!/bin/sh\necho up\nread line\n").unwrap();
    assert!(Command::new("chmod").arg("755").arg(&program).status().unwrap().success());
    let mut engine = Command::new(&program);
    engine.args(arguments.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut engine = engine.spawn().unwrap();
    let mut word = [0; 3];
    engine.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    engine
}

#[test]
fn a_bridge_of_a_living_engine_is_refused() {
    if !is_inside("a_bridge_of_a_living_engine_is_refused") {
        return;
    }
    ip("link add docker0 type bridge; addr add 172.17.42.1/16 dev docker0");
    ip("link add boot0 type bridge; addr add 169.254.77.1/30 dev boot0");
    let mut boot = engine("--bridge=boot0 --iptables=false");
    let why = format!(
        "boot0 is used by dockerd (pid {}), which is alive: left alone; stop that first",
        boot.id()
    );
    assert_eq!(refused("boot0"), why);
    assert!(is_there("boot0"));
    // It is no concern of its other bridges; and what is right is right under a living engine.
    assert!(reset("docker0", Some(WANTED)).unwrap().contains("was deleted"));
    let own = Some((Ipv4Addr::new(169, 254, 77, 1), 30));
    assert!(reset("boot0", own).unwrap().contains("already has"));
    boot.kill().unwrap();
    // Dead and not yet reaped is dead.
    let pid = rustix::process::Pid::from_child(&boot);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), options).unwrap();
    assert!(reset("boot0", None).unwrap().contains("was deleted"));
    boot.wait().unwrap();

    ip("link add docker0 type bridge");
    let mut main = engine("-H fd:// --bip=10.1.78.1/24");
    assert!(refused("docker0").contains("is used by dockerd"));
    main.kill().unwrap();
    main.wait().unwrap();
    assert!(reset("docker0", Some(WANTED)).unwrap().contains("was deleted"));
}

#[test]
fn routes_come_and_go() {
    if !is_inside("routes_come_and_go") {
        return;
    }
    let master = Some(Ipv4Addr::new(192, 168, 1, 10));
    let monitor = Monitor::open().unwrap();
    for to in [None, master] {
        assert!(!network::has_route(to, to_kernel).unwrap());
        assert_eq!(network::default_interface(to, to_kernel).unwrap(), None);
    }
    assert!(!monitor.drain().unwrap());
    ip("link add eth0 type veth peer name switch; link set switch up; link set eth0 up");
    ip("addr add 192.168.1.11/24 dev eth0");
    assert!(monitor.wait(Duration::from_secs(30)).unwrap());
    let eth0 = Some(("eth0".to_owned(), Ipv4Addr::new(192, 168, 1, 11)));
    assert!(network::has_route(master, to_kernel).unwrap());
    assert_eq!(network::default_interface(master, to_kernel).unwrap(), eth0);
    assert!(!network::has_route(None, to_kernel).unwrap());

    while monitor.drain().unwrap() {}
    ip("route add default via 192.168.1.1");
    assert!(monitor.wait(Duration::from_secs(30)).unwrap());
    assert!(network::has_route(None, to_kernel).unwrap());
    assert_eq!(network::default_interface(None, to_kernel).unwrap(), eth0);
    // The way to itself.
    let own = Some(Ipv4Addr::new(192, 168, 1, 11));
    assert_eq!(network::default_interface(own, to_kernel).unwrap(), eth0);

    // The cable is pulled; the kernel tells after a while.
    for (state, is_way) in [("down", false), ("up", true)] {
        ip(&format!("link set switch {state}"));
        while network::has_route(None, to_kernel).unwrap() != is_way {
            assert!(monitor.wait(Duration::from_secs(30)).unwrap(), "switch {state}");
        }
    }
    ip("route add blackhole 10.0.0.0/8");
    assert!(!network::has_route(Some(Ipv4Addr::new(10, 0, 0, 1)), to_kernel).unwrap());
}

#[test]
fn many_links_fit_into_an_answer() {
    if !is_inside("many_links_fit_into_an_answer") {
        return;
    }
    let mut batch = String::new();
    for number in 0..150 {
        batch += &format!("link add v{number} type veth peer name p{number}\n");
    }
    let file = std::env::temp_dir().join(format!("pisup-links-{}", std::process::id()));
    std::fs::write(&file, batch).unwrap();
    ip(&format!("-batch {}", file.display()));
    std::fs::remove_file(&file).unwrap();
    let links = network::links(to_kernel).unwrap();
    assert_eq!(links.iter().filter(|link| link.kind == "veth").count(), 300);
    assert!(network::link("p149", to_kernel).unwrap().is_some());
}
