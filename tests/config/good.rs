//! Good configurations: every key of the contract, and what it comes to.

use std::collections::BTreeMap;
use std::path::Path;

use pisup::config::plan::{
    Cgroup, ClockWait, EnvFile, Health, HttpProbe, Job, KillScope, Listen, LogSpec, Plan, Prepare,
    Probes, Process, Pull, Reload, RouteWait, Socket, Step, Stop, Text, Unit, Wait,
};
use pisup::machine::spec::{
    Condition, Conditions, Gate, Gates, Kind, Policy, Readiness, Restart, Stop as StopSpec,
};

use super::common::{MASTER, told, try_load};

/// A unit that does nothing.
pub const IDLE: &str = "[command]\nexec = [\"a\"]\n";

pub fn plan_of(node: &str, texts: &[(&str, &str)]) -> Plan {
    try_load(node, texts).map_err(|faults| told(&faults)).unwrap()
}

fn unit_of(text: &str) -> Unit {
    plan_of(MASTER, &[("a", text)]).units.remove(0)
}

fn process_of(text: &str) -> Process {
    match unit_of(text).job {
        Job::Command(command) => command.process,
        Job::Container(container) => container.process,
    }
}

fn literals<const N: usize>(texts: [&str; N]) -> Vec<Text> {
    texts.map(Text::literal).to_vec()
}

#[test]
fn a_unit_that_says_nothing_gets_the_defaults() {
    let unit = unit_of(IDLE);
    let spec = &unit.spec;
    assert_eq!((spec.name.as_str(), spec.kind, spec.is_enabled), ("a", Kind::Service, true));
    assert_eq!(unit.description, "");
    assert_eq!(unit.file, Path::new("units/a.toml"));
    assert!(spec.requires.is_empty() && spec.binds.is_empty() && spec.wants.is_empty());
    assert!(spec.after.is_empty() && spec.conflicts.is_empty());
    assert!(spec.uses.is_empty() && spec.exports.is_empty() && spec.prepare_ms.is_empty());
    assert_eq!((spec.conditions, spec.conditions_timeout_ms), (Conditions::NONE, None));
    assert_eq!(
        spec.readiness,
        Readiness { gates: Gates::NONE, timeout_ms: Some(600_000), watchdog_ms: None }
    );
    assert_eq!(
        spec.restart,
        Restart {
            policy: Policy::Always,
            delay_ms: 1000,
            max_delay_ms: 60_000,
            stable_ms: 10_000,
            degraded_after: 5,
            fatal_exit_codes: vec![],
            has_jitter: true,
        }
    );
    assert_eq!(spec.stop, StopSpec { timeout_ms: Some(10_000), sweeps: true });
    assert_eq!(unit.stop, Stop { signal: 15, kill: KillScope::Tree, exec: vec![] });
    assert_eq!(unit.wait, Wait::default());
    assert_eq!(unit.cgroup, Cgroup::default());
    assert_eq!((unit.health, unit.exports, unit.reload), (None, None, None));
    assert!(unit.sockets.is_empty() && unit.prepare.is_empty());
    assert_eq!(
        unit.log,
        LogSpec { ring_bytes: 256 << 10, file: None, rotate_bytes: 1 << 20, rotate_keep: 3 }
    );
    let probes = &unit.ready.probes;
    assert_eq!((probes.every_ms, probes.timeout_ms), (1000, 5000));
    let Job::Command(command) = unit.job else { unreachable!() };
    assert_eq!((command.exec, command.process), (literals(["a"]), Process::default()));
}

#[test]
fn all_of_unit_and_wait() {
    let texts = [
        (
            "a",
            r#"
            [unit]
            description = "all of it"
            kind      = "oneshot"
            roles     = ["master", "worker"]
            requires  = ["b"]
            binds     = ["c"]
            wants     = ["d"]
            after     = ["e", "b"]
            conflicts = ["f"]
            enabled   = false
            [wait]
            clock   = "synced"
            route   = "default"
            path    = "/dev/net/tun"
            timeout = "5m"
            [command]
            exec = ["a"]
            "#,
        ),
        ("b", IDLE),
        ("c", IDLE),
        ("d", IDLE),
        ("e", IDLE),
        ("f", IDLE),
    ];
    let plan = plan_of(MASTER, &texts);
    let (a, f) = (&plan.units[0], &plan.units[5]);
    let names = |ids: &[_]| {
        let name = |id: &pisup::machine::UnitId| plan.units[id.index()].spec.name.clone();
        ids.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!((a.description.as_str(), a.spec.kind), ("all of it", Kind::Oneshot));
    assert_eq!(names(&a.spec.requires), ["b"]);
    assert_eq!(names(&a.spec.binds), ["c"]);
    assert_eq!(names(&a.spec.wants), ["d"]);
    assert_eq!(names(&a.spec.after), ["e"], "what is required need not also be waited for");
    assert_eq!(
        (names(&a.spec.conflicts), names(&f.spec.conflicts)),
        (vec!["f".into()], vec!["a".into()])
    );
    assert!(!a.spec.is_enabled);
    let path = Some("/dev/net/tun".into());
    let route = Some(RouteWait::Default);
    assert_eq!(a.wait, Wait { clock: Some(ClockWait::Synced), route, path });
    let all = Condition::ALL.into_iter().fold(Conditions::NONE, Conditions::with);
    assert_eq!((a.spec.conditions, a.spec.conditions_timeout_ms), (all, Some(300_000)));

    let wait = "[wait]\nclock = \"sane\"\nroute = \"192.168.1.1\"\ntimeout = \"never\"\n";
    let unit = unit_of(&format!("{wait}{IDLE}"));
    let to = RouteWait::To("192.168.1.1".parse().unwrap());
    assert_eq!((unit.wait.clock, unit.wait.route), (Some(ClockWait::Sane), Some(to)));
    assert_eq!(unit.spec.conditions_timeout_ms, None);
}

#[test]
fn all_of_command() {
    let process = process_of(
        r#"
        [command]
        exec      = ["a", "", "b c", "$$HOME"]
        user      = "nobody"
        group     = "nogroup"
        groups    = ["disk", "audio"]
        directory = "/srv"
        umask     = "027"
        nice      = -5
        ionice    = "best-effort:4"
        cpus      = "0-1,3"
        oom-score-adj     = -500
        capabilities      = ["NET_ADMIN", "CAP_NET_RAW"]
        no-new-privileges = true
        limits   = { nofile = 1048576, core = "infinity", memlock = "64M" }
        env      = { KEY = "value", "EMPTY" = "" }
        env-file = ["/etc/default/x", "-/may/be/${node.name}"]
        "#,
    );
    let file = |path: &str, is_optional| EnvFile { path: Text::literal(path), is_optional };
    let limits = [("nofile", 1 << 20), ("core", u64::MAX), ("memlock", 64 << 20)];
    let env = [("KEY", Text::literal("value")), ("EMPTY", Text::default())];
    let expected = Process {
        user: Some("nobody".into()),
        group: Some("nogroup".into()),
        groups: Some(vec!["disk".into(), "audio".into()]),
        directory: Some(Text::literal("/srv")),
        umask: Some(0o27),
        nice: Some(-5),
        ionice: Some(2 << 13 | 4),
        oom_score_adj: Some(-500),
        cpus: vec![0, 1, 3],
        capabilities: Some(vec![12, 13]),
        no_new_privileges: true,
        limits: limits.map(|(name, max)| (name.to_owned(), max)).into(),
        env: env.map(|(name, text)| (name.to_owned(), text)).into(),
        env_files: vec![file("/etc/default/x", false), file("/may/be/pi-1", true)],
    };
    assert_eq!(process, expected);
    let none = process_of("[command]\nexec = [\"a\"]\ncapabilities = []\ngroups = []\n");
    assert_eq!((none.capabilities, none.groups), (Some(vec![]), Some(vec![])), "none, not all");
}

#[test]
fn all_of_container() {
    let unit = unit_of(
        r#"
        [container]
        engine     = "/run/docker-bootstrap.sock"
        image      = "${images.etcd}"
        command    = ["/bin/etcd", "--port=${vars.port}"]
        name       = "etcd-${node.name}"
        network    = "host"
        privileged = true
        pid        = "host"
        cap-add    = ["NET_ADMIN"]
        volumes    = ["/var/lib/etcd:/var/etcd/data", "cache:/cache:ro"]
        devices    = ["/dev/net/tun"]
        env        = { ETCD_UNSUPPORTED_ARCH = "arm" }
        user       = "1000:1000"
        workdir    = "/srv"
        pull         = "always"
        pull-timeout = "never"
        "#,
    );
    let Job::Container(container) = unit.job else { unreachable!() };
    assert_eq!(container.engine, Text::literal("/run/docker-bootstrap.sock"));
    assert_eq!(container.image, Text::literal("example/etcd:2.1.1"));
    assert_eq!(container.command, literals(["/bin/etcd", "--port=4001"]));
    assert_eq!(container.name, Text::literal("etcd-pi-1"));
    assert_eq!(container.network, Some(Text::literal("host")));
    assert_eq!((container.privileged, container.pid.as_deref()), (true, Some("host")));
    assert_eq!(container.cap_add, ["NET_ADMIN"]);
    assert_eq!(container.volumes, literals(["/var/lib/etcd:/var/etcd/data", "cache:/cache:ro"]));
    assert_eq!(container.devices, literals(["/dev/net/tun"]));
    let env = BTreeMap::from([("ETCD_UNSUPPORTED_ARCH".to_owned(), Text::literal("arm"))]);
    assert_eq!(container.env, env);
    assert_eq!(container.user, Some(Text::literal("1000:1000")));
    assert_eq!(container.workdir, Some(Text::literal("/srv")));
    assert_eq!((container.pull, container.pull_timeout_ms), (Pull::Always, None));

    let unit = unit_of("[container]\nengine = \"/run/docker.sock\"\nimage = \"a\"\n");
    let Job::Container(container) = unit.job else { unreachable!() };
    assert_eq!(container.name, Text::literal("pisup-a"));
    assert_eq!((container.pull, container.pull_timeout_ms), (Pull::Missing, Some(1_800_000)));
    assert!(!container.privileged && container.command.is_empty() && container.network.is_none());
}

#[test]
fn all_of_socket_and_prepare() {
    let unit = unit_of(
        r#"
        [socket]
        listen = ["/run/docker.sock", "tcp:127.0.0.1:2375"]
        names  = ["api", "tcp"]
        mode   = "0600"
        user   = "root"
        group  = "docker"
        [[prepare]]
        bridge-reset = "docker0"
        address      = "10.1.78.1/24"
        [[prepare]]
        bridge-reset = "docker1"
        [[prepare]]
        exec = ["modprobe", "br_netfilter"]
        ignore-failure = true
        timeout = "1m"
        [[prepare]]
        remove = ["/run/a.pid", "/run/b.pid"]
        [[prepare]]
        directory = "/var/lib/a"
        timeout   = "never"
        [command]
        exec = ["dockerd", "-H", "fd://"]
        "#,
    );
    let socket = |listen, name: &str| Socket {
        listen,
        name: name.to_owned(),
        mode: 0o600,
        user: Some("root".into()),
        group: Some("docker".into()),
    };
    let tcp = Listen::Tcp("127.0.0.1:2375".parse().unwrap());
    let unix = Listen::Unix("/run/docker.sock".into());
    assert_eq!(unit.sockets, [socket(unix, "api"), socket(tcp, "tcp")]);
    let reset = |bridge: &str, address: Option<&str>| Step::BridgeReset {
        bridge: Text::literal(bridge),
        address: address.map(Text::literal),
    };
    let step = |step, ignores_failure| Prepare { step, ignores_failure };
    assert_eq!(
        unit.prepare,
        [
            step(reset("docker0", Some("10.1.78.1/24")), false),
            step(reset("docker1", None), false),
            step(Step::Exec(literals(["modprobe", "br_netfilter"])), true),
            step(Step::Remove(literals(["/run/a.pid", "/run/b.pid"])), false),
            step(Step::Directory(Text::literal("/var/lib/a")), false),
        ]
    );
    let half = Some(30_000);
    assert_eq!(unit.spec.prepare_ms, [half, half, Some(60_000), half, None]);

    let unit = unit_of(&format!("[socket]\nlisten = [\"/run/a\"]\n{IDLE}"));
    let [socket] = unit.sockets.as_slice() else { unreachable!() };
    assert_eq!((socket.name.as_str(), socket.mode), ("a", 0o660), "named after the unit");
}

#[test]
fn all_of_ready_and_health() {
    let unit = unit_of(
        r#"
        [command]
        exec = ["a"]
        [ready]
        notify  = true
        fd      = 3
        file    = "/run/flannel/subnet.env"
        http    = "http+unix:///run/docker.sock:/_ping"
        expect  = "OK"
        tcp     = "127.0.0.1:${vars.port}"
        unix    = "/run/containerd/containerd.sock"
        exec    = ["etcdctl", "endpoint", "health"]
        log     = "API listen on"
        timeout = "never"
        every   = "500ms"
        probe-timeout = "2s"
        [health]
        http     = "http://127.0.0.1:4001/health"
        failures = 5
        action   = "report"
        every    = "1m"
        watchdog = "30s"
        "#,
    );
    let ready = &unit.ready;
    assert_eq!((ready.notify, ready.fd), (true, Some(3)));
    assert_eq!(ready.file, Some(Text::literal("/run/flannel/subnet.env")));
    assert_eq!(ready.log.as_deref(), Some("API listen on"));
    let url = Text::literal("http+unix:///run/docker.sock:/_ping");
    assert_eq!(
        ready.probes,
        Probes {
            http: Some(HttpProbe { url, expect: Some("OK".into()) }),
            tcp: Some(Text::literal("127.0.0.1:4001")),
            unix: Some(Text::literal("/run/containerd/containerd.sock")),
            exec: Some(literals(["etcdctl", "endpoint", "health"])),
            every_ms: 500,
            timeout_ms: 2000,
        }
    );
    let gates = Gate::ALL.into_iter().fold(Gates::NONE, Gates::with);
    let readiness = Readiness { gates, timeout_ms: None, watchdog_ms: Some(30_000) };
    assert_eq!(unit.spec.readiness, readiness);
    let url = Text::literal("http://127.0.0.1:4001/health");
    let http = Some(HttpProbe { url, expect: None });
    let probes = Probes { http, every_ms: 60_000, timeout_ms: 5000, ..Probes::default() };
    assert_eq!(unit.health, Some(Health { probes, failures: 5, restarts: false }));

    let unit = unit_of(&format!("{IDLE}[health]\ntcp = \"127.0.0.1:80\"\n"));
    let health = unit.health.unwrap();
    assert_eq!((health.failures, health.restarts, health.probes.every_ms), (3, true, 10_000));
    let unit = unit_of(&format!("{IDLE}[health]\nwatchdog = \"2s\"\n"));
    assert_eq!(unit.health, None, "a watchdog asks nothing");
}

#[test]
fn all_that_is_about_the_end() {
    let unit = unit_of(
        r#"
        [command]
        exec = ["a"]
        [restart]
        policy    = "on-failure"
        delay     = "200ms"
        max-delay = "10s"
        stable    = "1m"
        degraded-after   = 0
        fatal-exit-codes = [2, 78]
        [stop]
        signal  = "QUIT"
        timeout = "90s"
        kill    = "main"
        [reload]
        signal = "HUP"
        [cgroup]
        memory-max  = "200M"
        memory-high = "max"
        cpu-weight  = 50
        io-weight   = 10
        pids-max    = 512
        delegate    = true
        [log]
        ring = "64K"
        file = "/var/log/${node.name}.log"
        rotate-size = "4M"
        rotate-keep = 1
        "#,
    );
    assert_eq!(
        unit.spec.restart,
        Restart {
            policy: Policy::OnFailure,
            delay_ms: 200,
            max_delay_ms: 10_000,
            stable_ms: 60_000,
            degraded_after: 0,
            fatal_exit_codes: vec![2, 78],
            has_jitter: true,
        }
    );
    assert_eq!(unit.spec.stop, StopSpec { timeout_ms: Some(90_000), sweeps: false });
    assert_eq!(unit.stop, Stop { signal: 3, kill: KillScope::Main, exec: vec![] });
    assert_eq!(unit.reload, Some(Reload::Signal(1)));
    assert_eq!(
        unit.cgroup,
        Cgroup {
            memory_max: Some(200 << 20),
            memory_high: Some(u64::MAX),
            cpu_weight: Some(50),
            io_weight: Some(10),
            pids_max: Some(512),
            delegate: true,
        }
    );
    let file = Some("/var/log/pi-1.log".into());
    assert_eq!(
        unit.log,
        LogSpec { ring_bytes: 64 << 10, file, rotate_bytes: 4 << 20, rotate_keep: 1 }
    );
    let unit = unit_of(&format!(
        "{IDLE}[stop]\nexec = [\"halt\", \"$$MAINPID\"]\ntimeout = \"never\"\nkill = \"group\"\n\
         [reload]\nexec = [\"reload\"]\n[restart]\npolicy = \"never\"\ndelay = \"2m\"\n"
    ));
    assert_eq!(unit.stop.exec, literals(["halt", "$MAINPID"]));
    assert_eq!((unit.stop.kill, unit.spec.stop.timeout_ms), (KillScope::Group, None));
    assert!(unit.spec.stop.sweeps);
    let exec = literals(["reload"]);
    assert_eq!(unit.reload, Some(Reload::Exec { exec, timeout_ms: Some(90_000) }));
    assert_eq!(unit.spec.restart.policy, Policy::Never);
    assert_eq!(unit.spec.restart.max_delay_ms, 120_000, "never shorter than the first");
}

#[test]
fn a_oneshot_that_succeeded_is_done() {
    let unit = unit_of(&format!("[unit]\nkind = \"oneshot\"\n{IDLE}"));
    assert_eq!(unit.spec.restart.policy, Policy::OnFailure);
}

#[test]
fn numbers_without_a_unit_need_no_quotes() {
    let unit = unit_of(&format!("{IDLE}[cgroup]\nmemory-max = 1048576\npids-max = \"max\"\n"));
    assert_eq!(unit.cgroup.memory_max, Some(1 << 20));
    assert_eq!(unit.cgroup.pids_max, Some(u64::MAX));
}
