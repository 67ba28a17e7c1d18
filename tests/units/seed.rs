//! `seed-2015` is the how-to to the letter: the command lines that a reader of it types.

use pisup::wire::container::ContainerArgs;

use super::node::{MASTER, Node, WORKER};
use super::render;

/// The unit as one types it: a program, or `docker run` with its options in the how-to's order.
fn typed(node: &Node, name: &str) -> String {
    let (id, unit) = node.ids().find(|(_, unit)| unit.spec.name == name).expect(name);
    match render::container(&node.machine, id, unit) {
        None => render::argv(&node.machine, id, unit).join(" "),
        Some(ContainerArgs { engine, spec, .. }) => {
            let mut words = vec![format!("docker -H unix://{engine} run")];
            words.extend(spec.network.iter().map(|network| format!("--net={network}")));
            words.extend(spec.is_privileged.then(|| "--privileged".to_owned()));
            words.extend(spec.volumes.iter().map(|volume| format!("-v {volume}")));
            words.push(spec.image);
            words.extend(spec.command);
            words.join(" ")
        }
    }
}

const BOOTSTRAP: &str = "docker -H unix:///var/run/docker-bootstrap.sock run --net=host";
const MAIN: &str = "docker -H unix:///var/run/docker.sock run --net=host --privileged";
const HYPERKUBE: &str = "andrewpsuedonym/hyperkube hyperkube";

#[test]
fn a_daemon_for_etcd_and_flannel() {
    for role in ["master", "worker"] {
        let node = Node::read("seed-2015", role);
        assert_eq!(
            typed(&node, "dockerd-bootstrap"),
            "docker -d -H unix:///var/run/docker-bootstrap.sock \
             -p /var/run/docker-bootstrap.pid --iptables=false --ip-masq=false --bridge=none \
             --graph=/var/lib/docker-bootstrap"
        );
    }
}

#[test]
fn etcd_and_its_key_on_the_master() {
    let master = Node::read("seed-2015", "master");
    let etcd = format!("{BOOTSTRAP} andrewpsuedonym/etcd:2.1.1");
    assert_eq!(
        typed(&master, "etcd"),
        format!(
            "{etcd} /bin/etcd --addr=127.0.0.1:4001 --bind-addr=0.0.0.0:4001 \
             --data-dir=/var/etcd/data"
        )
    );
    assert_eq!(
        typed(&master, "flannel-config"),
        format!(r#"{etcd} etcdctl set /coreos.com/network/config {{ "Network": "10.1.0.0/16" }}"#)
    );
    let worker = Node::read("seed-2015", "worker");
    assert!(worker.plan.find("etcd").is_none() && worker.plan.find("flannel-config").is_none());
}

#[test]
fn flannel_with_a_volume_in_place_of_docker_exec() {
    // On the master the how-to names no endpoint, which is this one.
    for (role, endpoint) in [("master", "127.0.0.1"), ("worker", MASTER)] {
        assert_eq!(
            typed(&Node::read("seed-2015", role), "flannel"),
            format!(
                "{BOOTSTRAP} --privileged -v /dev/net:/dev/net -v /run/flannel:/run/flannel \
                 andrewpsuedonym/flanneld flanneld --etcd-endpoints=http://{endpoint}:4001"
            )
        );
    }
}

#[test]
fn docker_with_what_flannel_leased() {
    for role in ["master", "worker"] {
        let node = Node::read("seed-2015", role);
        assert_eq!(
            typed(&node, "docker"),
            "/usr/bin/docker --bip=10.1.78.1/24 --mtu=1472 -d -H fd://"
        );
        let (id, docker) = node.ids().find(|(_, unit)| unit.spec.name == "docker").unwrap();
        let steps = render::steps(&node.machine, id, docker);
        assert!(steps.iter().any(|step| step[1..] == ["bridge-reset", "docker0", "10.1.78.1/24"]));
    }
}

#[test]
fn kubelet_and_proxy_of_hyperkube() {
    // The how-to's worker has no --config, which is the same as a folder without a manifest.
    for (role, api, name, manifests) in [
        ("master", "localhost", "127.0.0.1", "manifests-multi"),
        ("worker", MASTER, WORKER, "manifests"),
    ] {
        let node = Node::read("seed-2015", role);
        assert_eq!(
            typed(&node, "kubelet"),
            format!(
                "{MAIN} -v /sys:/sys:ro -v /var/run/docker.sock:/var/run/docker.sock {HYPERKUBE} \
                 kubelet --api-servers=http://{api}:8080 --v=2 --address=0.0.0.0 --enable-server \
                 --hostname-override={name} --config=/etc/kubernetes/{manifests} \
                 --pod-infra-container-image=andrewpsuedonym/pause"
            )
        );
    }
    for (role, api) in [("master", "127.0.0.1"), ("worker", MASTER)] {
        assert_eq!(
            typed(&Node::read("seed-2015", role), "kube-proxy"),
            format!("{MAIN} {HYPERKUBE} proxy --master=http://{api}:8080 --v=2")
        );
    }
}
