//! The network: the way out, the name, and whose addresses are whose.

use std::net::Ipv4Addr;

use super::Finding;
use crate::setup::doctor::facts::{Facts, Route};

/// Names that images give to every machine.
const EVERYBODYS: [&str; 6] =
    ["raspberrypi", "alarmpi", "alarm", "debian", "localhost", "raspberry"];

pub(super) fn route(facts: &Facts) -> Finding {
    let fix = "ip route add default via ROUTER, or see that the network comes up";
    match facts.routes.iter().find(|route| route.prefix == 0) {
        Some(route) => Finding::pass("default route", format!("by {}", route.interface)),
        // Without a configuration that could be read, nothing names this node's interface.
        None if facts.wants.is_some() => {
            Finding::warn("default route", "none: no image is pulled, no time is asked for", fix)
        }
        None => Finding::fail("default route", "none: this node's address is not known", fix),
    }
}

pub(super) fn name(facts: &Facts) -> Finding {
    let hostname = facts.hostname.as_str();
    let wanted = facts.wants.as_ref().map(|wants| wants.name.as_str());
    let name = wanted.filter(|name| !name.is_empty()).unwrap_or(hostname);
    let finding = match name == hostname {
        true => name.to_owned(),
        false => format!("{name} (this host is {hostname})"),
    };
    let fix = match facts.is_systemd {
        true => "hostnamectl set-hostname pi-1, another one on each node".to_owned(),
        false => "echo pi-1 >/etc/hostname && hostname pi-1, another one on each node".to_owned(),
    };
    let is_good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    match name {
        _ if name.is_empty() || !name.to_lowercase().bytes().all(is_good) => {
            Finding::fail("name", format!("{finding}: letters, digits and `-` only"), fix)
        }
        _ if EVERYBODYS.contains(&name) => Finding::warn(
            "name",
            format!("{finding}, as on every new card; two nodes of one name are one node"),
            fix,
        ),
        _ => Finding::pass("name", finding),
    }
}

pub(super) fn localhost(facts: &Facts) -> Finding {
    match facts.has_localhost {
        true => Finding::pass("localhost", "in /etc/hosts"),
        false => Finding::fail(
            "localhost",
            "not in /etc/hosts: programs look it up there and end without it",
            "echo 127.0.0.1 localhost >>/etc/hosts",
        ),
    }
}

/// What has addresses of the pods' network already.
pub(super) fn overlaps(facts: &Facts) -> Vec<Finding> {
    let Some(wants) = &facts.wants else { return Vec::new() };
    let Some(cidr) = wants.cidr.as_deref().and_then(network) else { return Vec::new() };
    let mut findings = Vec::new();
    for route in facts.routes.iter().filter(|route| route.prefix > 0 && !route.has_gateway) {
        let name = &route.interface;
        let own = format!("{name} has {}/{}", route.network, route.prefix);
        let is_inside = overlap((route.network, route.prefix), cidr);
        if wants.bridges.contains(name) {
            let finding = match is_inside {
                true => own,
                false => format!("{own}; a unit sets it anew before it is used"),
            };
            findings.push(Finding::pass("bridge", finding));
        } else if is_inside && !facts.tunnels.contains(name) {
            findings.push(clash(facts, route, &own));
        }
    }
    if findings.is_empty() {
        let (address, prefix) = cidr;
        findings.push(Finding::pass("pods' network", format!("{address}/{prefix} is free")));
    }
    findings
}

fn clash(facts: &Facts, route: &Route, own: &str) -> Finding {
    let cidr = facts.wants.as_ref().and_then(|wants| wants.cidr.as_deref()).unwrap_or_default();
    let finding = format!("{own}, which is part of the pods' {cidr}");
    match facts.bridges.contains(&route.interface) {
        true => Finding::fail(
            "bridge",
            format!("{finding}: left over from another cluster?"),
            format!("ip link delete {}", route.interface),
        ),
        false => Finding::fail(
            "pods' network",
            finding,
            format!("another `cidr` under [network] in {}/node.toml, on all nodes", facts.config),
        ),
    }
}

fn network(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 32)?))
}

fn overlap(a: (Ipv4Addr, u32), b: (Ipv4Addr, u32)) -> bool {
    let bits = a.1.min(b.1);
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(a.0) & mask == u32::from(b.0) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_overlap_when_one_is_in_the_other() {
        let of = |text| network(text).unwrap();
        for (a, b, is) in [
            ("10.1.0.0/16", "10.1.5.0/24", true),
            ("10.1.5.0/24", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
            ("0.0.0.0/0", "10.2.0.0/16", true),
            ("10.1.0.1/32", "10.1.0.1/32", true),
            ("10.1.0.1/32", "10.1.0.2/32", false),
        ] {
            assert_eq!(overlap(of(a), of(b)), is, "{a} {b}");
        }
        assert!(network("10.1.0.0/33").is_none() && network("x").is_none());
    }
}
