//! `${...}` and roles: what a node makes of a unit.

use pisup::config::plan::{Exports, Job, Piece, Text};
use pisup::machine::spec::Use;

use super::common::MASTER;
use super::good::{IDLE, plan_of};

#[test]
fn exports_are_values_of_those_who_require_them() {
    let flannel = "[command]\nexec = [\"flanneld\"]\n[exports]\nfile = \"/run/subnet.env\"\n\
                   require = [\"SUBNET\", \"MTU\"]\nkeep = true\n";
    let docker = r#"
        [unit]
        requires = ["flannel"]
        [[prepare]]
        bridge-reset = "docker0"
        address      = "${flannel.SUBNET}"
        [command]
        exec = [
            "dockerd", "--bip=${flannel.SUBNET}",
            "$${flannel.MTU}", "${vars.port}${flannel.MTU}x",
        ]
        env  = { MTU = "${flannel.MTU}" }
        "#;
    let plan = plan_of(MASTER, &[("docker", docker), ("flannel", flannel)]);
    let (docker, flannel) = (&plan.units[0], &plan.units[1]);
    let id = plan.find("flannel").unwrap();
    assert_eq!(flannel.exports, Some(Exports { file: "/run/subnet.env".into(), keeps: true }));
    assert_eq!(flannel.spec.exports, ["SUBNET", "MTU"]);
    let uses = ["SUBNET", "MTU"].map(|key| Use { unit: id, key: key.to_owned() });
    assert_eq!(docker.spec.uses, uses, "each once, in the order in which they stand");
    let value = |key: &str| Piece::Value(id, key.to_owned());
    let literal = |text: &str| Piece::Literal(text.to_owned());
    let Job::Command(command) = &docker.job else { unreachable!() };
    assert_eq!(
        command.exec,
        [
            Text::literal("dockerd"),
            Text(vec![literal("--bip="), value("SUBNET")]),
            Text::literal("${flannel.MTU}"),
            Text(vec![literal("4001"), value("MTU"), literal("x")]),
        ]
    );
    let known = |_, key: &str| Some(if key == "MTU" { "1472" } else { "" });
    assert_eq!(command.exec[3].render(known), Ok("40011472x".to_owned()));
    assert_eq!(command.exec[1].render(known), Err((id, "SUBNET")), "an empty value is none");
    assert_eq!(command.exec[1].render(|_, _| None), Err((id, "SUBNET")));
}

#[test]
fn the_node_is_known_by_what_it_says_and_by_its_host() {
    let all = "${node.role} ${node.master} ${node.name} ${node.interface} ${node.address} \
               ${node.profile} ${node.cidr} ${node.backend}";
    let text = format!("[command]\nexec = [\"a\", \"{all}\"]\n");
    let exec = |node: &str| {
        let Job::Command(command) = plan_of(node, &[("a", &text)]).units.remove(0).job else {
            unreachable!()
        };
        command.exec[1].render(|_, _| None).unwrap()
    };
    let network = "profile = \"native\"\n[network]\ncidr = \"10.2.0.0/16\"\nbackend = \"vxlan\"\n";
    assert_eq!(
        exec(&format!("role = \"master\"\n{network}")),
        "master 10.0.0.7 raspberry wlan0 10.0.0.7 native 10.2.0.0/16 vxlan",
        "a master is its own master"
    );
    let own =
        "master = \"pi-1.lan\"\nname = \"pi-2\"\ninterface = \"eth1\"\naddress = \"10.0.0.9\"";
    assert_eq!(
        exec(&format!("role = \"worker\"\n{own}\n{network}")),
        "worker pi-1.lan pi-2 eth1 10.0.0.9 native 10.2.0.0/16 vxlan"
    );
}

#[test]
fn a_unit_of_another_role_is_absent_and_what_needs_it_goes_on_without() {
    let etcd = format!("[unit]\nroles = [\"master\"]\n{IDLE}");
    let flannel =
        format!("[unit]\nrequires = [\"etcd\"]\nwants = [\"key\"]\nafter = [\"etcd\"]\n{IDLE}");
    let texts = [("etcd", etcd.as_str()), ("flannel", &flannel), ("key", &etcd)];
    let worker = MASTER.replace("\"master\"", "\"worker\"\nmaster = \"192.168.1.9\"");
    let plan = plan_of(&worker, &texts);
    let names: Vec<&str> = plan.units.iter().map(|unit| unit.spec.name.as_str()).collect();
    assert_eq!(names, ["flannel"]);
    let spec = &plan.units[0].spec;
    assert!(spec.requires.is_empty() && spec.wants.is_empty() && spec.after.is_empty());
    assert_eq!(
        plan.notes,
        [
            "flannel requires etcd, which a worker has not: left out",
            "flannel wants key, which a worker has not: left out",
        ]
    );
    let plan = plan_of(MASTER, &texts);
    assert_eq!((plan.units.len(), plan.notes.len()), (3, 0));
    assert_eq!(plan.find("etcd").map(|id| id.0), Some(0));
    assert_eq!(plan.find("nobody"), None);
}

#[test]
fn the_shutdown_has_one_deadline() {
    assert_eq!(plan_of(MASTER, &[]).node.shutdown_timeout_ms, 120_000);
    let node = format!("{MASTER}\n[shutdown]\ntimeout = \"5m\"\n");
    assert_eq!(plan_of(&node, &[]).node.shutdown_timeout_ms, 300_000);
}

#[test]
fn units_that_never_run_together_may_have_one_container() {
    let container = "[container]\nengine = \"/run/e.sock\"\nimage = \"i\"\nname = \"web\"\n";
    let other = format!("[unit]\nconflicts = [\"a\"]\nenabled = false\n{container}");
    assert_eq!(plan_of(MASTER, &[("a", container), ("b", &other)]).units.len(), 2);
    assert!(super::common::try_load(MASTER, &[("a", container), ("b", container)]).is_err());
}
