//! What the units have to honour whatever else they say: the traps of real parts, one test each.

use pisup::config::plan::{ClockWait, Job, KillScope};

use super::node::{Node, ROLES};
use super::render;

/// The profiles that run; `seed-2015` is a document.
const RUN: [&str; 2] = ["classic", "native"];

fn each(check: impl Fn(&Node)) {
    for profile in RUN {
        for (role, _) in ROLES {
            check(&Node::read(profile, role));
        }
    }
}

fn argv(node: &Node, name: &str) -> Vec<String> {
    let (id, unit) = node.ids().find(|(_, unit)| unit.spec.name == name).expect(name);
    match render::container(&node.machine, id, unit) {
        Some(args) => args.spec.command,
        None => render::argv(&node.machine, id, unit),
    }
}

fn steps(node: &Node, name: &str) -> Vec<Vec<String>> {
    let (id, unit) = node.ids().find(|(_, unit)| unit.spec.name == name).expect(name);
    render::steps(&node.machine, id, unit)
}

/// The value of `--key=value`.
fn option(argv: &[String], key: &str) -> Option<String> {
    argv.iter().find_map(|word| Some(word.strip_prefix(key)?.strip_prefix('=')?.to_owned()))
}

fn daemons(node: &Node) -> Vec<&'static str> {
    let names = ["docker", "dockerd-bootstrap"].into_iter();
    names.filter(|name| node.plan.find(name).is_some()).collect()
}

#[test]
fn the_units_have_the_names_that_users_know() {
    let all = [
        "docker",
        "dockerd-bootstrap",
        "etcd",
        "flannel",
        "flannel-config",
        "kube-proxy",
        "kubelet",
    ];
    each(|node| {
        let names: Vec<&str> = node.plan.units.iter().map(|u| u.spec.name.as_str()).collect();
        let is_master = node.plan.node.values["role"] == "master";
        let is_classic = node.plan.node.values["profile"] == "classic";
        let expected = all.into_iter().filter(|name| match *name {
            "etcd" | "flannel-config" => is_master,
            "dockerd-bootstrap" => is_classic,
            _ => true,
        });
        assert_eq!(names, expected.collect::<Vec<_>>());
    });
}

#[test]
fn two_daemons_share_nothing() {
    for (role, _) in ROLES {
        let node = Node::read("classic", role);
        let [main, bootstrap] = daemons(&node)
            .try_into()
            .map(|names: [&str; 2]| names.map(|name| argv(&node, name)))
            .unwrap();
        for key in ["--data-root", "--exec-root", "--pidfile"] {
            let (main, bootstrap) = (option(&main, key), option(&bootstrap, key));
            assert!(main.is_some() && bootstrap.is_some() && main != bootstrap, "{key}");
        }
        for key in ["--containerd-namespace", "--containerd-plugins-namespace"] {
            assert!(option(&bootstrap, key).is_some() && option(&main, key).is_none(), "{key}");
        }
        // With --bridge=none it would delete docker0, the main daemon's, at each of its starts.
        let bridge = option(&bootstrap, "--bridge").expect("a bridge of its own");
        assert!(!["none", "docker0"].contains(&bridge.as_str()), "{bridge}");
        let makes =
            |step: &Vec<String>| step.join(" ") == format!("ip link add {bridge} type bridge");
        assert!(steps(&node, "dockerd-bootstrap").iter().any(makes), "nobody makes {bridge}");
    }
}

#[test]
fn no_pidfile_is_in_the_way_of_a_daemon() {
    each(|node| {
        for name in daemons(node) {
            let pidfile = option(&argv(node, name), "--pidfile").expect(name);
            assert!(pidfile.starts_with("/run/"), "{name}: {pidfile} would outlive a power cut");
            let removes = |step: &Vec<String>| {
                step.get(1).is_some_and(|word| word == "remove-files") && step.contains(&pidfile)
            };
            assert!(steps(node, name).iter().any(removes), "{name}: {pidfile} stays");
        }
    });
}

#[test]
fn a_daemon_has_time_to_stop_its_containers_which_are_not_its_children() {
    each(|node| {
        for name in daemons(node) {
            let unit = node.unit(name);
            assert_eq!(unit.spec.stop.timeout_ms, Some(90_000), "{name}");
            assert_eq!(unit.stop.kill, KillScope::Main, "{name}");
            assert!(unit.cgroup.delegate, "{name}");
            // A connection is taken long before there is an answer.
            assert!(unit.ready.notify, "{name}");
            assert!(unit.spec.readiness.timeout_ms.is_none_or(|ms| ms >= 60_000), "{name}");
        }
    });
}

#[test]
fn docker_finds_forwarding_on_and_its_bridge_right_before_it_starts() {
    each(|node| {
        let steps = steps(node, "docker");
        let has = |end: &str| steps.iter().any(|step| step.join(" ").ends_with(end));
        assert!(has("sysctl -w net.ipv4.ip_forward=1"));
        assert!(has(" bridge-reset docker0 10.1.78.1/24"));
        let argv = argv(node, "docker");
        assert_eq!(option(&argv, "--bip").as_deref(), Some("10.1.78.1/24"));
        assert_eq!(option(&argv, "--mtu").as_deref(), Some("1472"));
        assert!(argv.windows(2).any(|pair| pair == ["-H", "fd://"]));
        assert_eq!(node.unit("docker").sockets.len(), 1);
        // One of the two masquerades, and it is flannel, which spares packets within the cluster.
        assert_eq!(option(&argv, "--ip-masq").as_deref(), Some("false"));
    });
}

#[test]
fn etcd_runs_on_any_architecture_and_flannel_finds_its_key_there() {
    for profile in RUN {
        let node = Node::read(profile, "master");
        let (id, etcd) = node.ids().find(|(_, unit)| unit.spec.name == "etcd").unwrap();
        let env = match &etcd.job {
            Job::Command(command) => &command.process.env,
            Job::Container(container) => &container.env,
        };
        assert!(env.contains_key("ETCD_UNSUPPORTED_ARCH"), "{profile}");
        let etcd_argv = argv(&node, "etcd");
        assert_eq!(option(&etcd_argv, "--enable-v2").as_deref(), Some("true"), "{profile}");
        assert_eq!(etcd.ready.probes.http.as_ref().unwrap().expect.as_deref(), Some("\"true\""));
        assert_eq!(etcd.wait.clock, Some(ClockWait::Sane));
        let config = argv(&node, "flannel-config");
        assert_eq!(
            config.last().unwrap(),
            r#"{"Network":"10.1.0.0/16","Backend":{"Type":"host-gw"}}"#
        );
        assert!(node.unit("flannel-config").spec.binds.contains(&id), "{profile}");
    }
}

#[test]
fn flannel_keeps_its_subnet_and_is_ready_when_the_file_is_there() {
    each(|node| {
        let flannel = node.unit("flannel");
        let exports = flannel.exports.as_ref().unwrap();
        assert!(exports.keeps);
        assert_eq!(flannel.spec.exports, ["FLANNEL_SUBNET", "FLANNEL_MTU"]);
        let file = flannel.ready.file.as_ref().unwrap().render(|_, _| None).unwrap();
        assert_eq!(Some(file.as_str()), exports.file.to_str());
        assert_eq!(flannel.spec.readiness.timeout_ms, None, "a worker waits for its master");
        let removes = |step: &Vec<String>| step.join(" ").contains("remove-files");
        assert!(!steps(node, "flannel").iter().any(removes), "the old file keeps the subnet");
        let argv = argv(node, "flannel");
        assert_eq!(option(&argv, "--ip-masq").as_deref(), Some("true"));
        assert_eq!(option(&argv, "--iface").as_deref(), Some("eth0"));
        assert_eq!(option(&argv, "--etcd-endpoints").as_deref(), Some("http://192.168.1.10:4001"));
    });
}

#[test]
fn kubelet_and_proxy_answer_where_they_always_do_and_go_with_docker() {
    each(|node| {
        let docker = node.plan.find("docker").unwrap();
        for (name, port) in [("kubelet", 10248), ("kube-proxy", 10256)] {
            let unit = node.unit(name);
            let url = unit.ready.probes.http.as_ref().unwrap().url.render(|_, _| None).unwrap();
            assert_eq!(url, format!("http://127.0.0.1:{port}/healthz"));
            assert!(unit.spec.binds.contains(&docker), "{name}");
        }
        assert_eq!(
            option(&argv(node, "kubelet"), "--cgroup-driver"),
            option(&argv(node, "docker"), "--exec-opt=native.cgroupdriver")
        );
    });
}
