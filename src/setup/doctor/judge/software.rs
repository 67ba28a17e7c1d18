//! Programs: the configuration, those it needs, and those that are in its way.

use super::{Finding, count};
use crate::setup::doctor::Level;
use crate::setup::doctor::facts::{Facts, Init, Iptables};

const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;

pub(super) fn config(facts: &Facts) -> Finding {
    let config = &facts.config;
    match &facts.wants {
        Some(_) => Finding::pass("configuration", format!("{config}, no errors")),
        None => Finding::fail(
            "configuration",
            format!("{config} has {}", count(facts.config_errors, "error")),
            format!("pisup check --config {config} names them, pisup setup writes one"),
        ),
    }
}

pub(super) fn rights(facts: &Facts) -> Finding {
    let Some(bits) = facts.capabilities else {
        return Finding::warn("rights", "/proc does not tell", "mount -t proc proc /proc");
    };
    let lacks = |number: u32| bits >> number & 1 == 0;
    if lacks(NET_ADMIN) || lacks(SYS_ADMIN) {
        let finding = "this is not root: much of what stands here it could not see";
        return Finding::fail("rights", finding, "sudo pisup doctor");
    }
    match lacks(SYS_RESOURCE) {
        true => Finding::warn(
            "rights",
            "CAP_SYS_RESOURCE is missing: no higher limits, no protection when memory is short",
            "give it to the container or service that pisup runs in",
        ),
        false => Finding::pass("rights", "root, with CAP_SYS_RESOURCE"),
    }
}

/// What serves several engines side by side, so that another one may use it.
const SHARED: [&str; 2] = ["containerd", "containerd.service"];

/// Whether a node can live with engines of those names.
fn level<'a>(mut names: impl Iterator<Item = &'a str>) -> Level {
    if names.all(|name| SHARED.contains(&name)) { Level::Warn } else { Level::Fail }
}

/// Engines that another init would start at boot.
pub(super) fn services(facts: &Facts) -> Finding {
    let of = |init| {
        let own = facts.services.iter().filter(move |(_, other)| *other == init);
        own.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    let (systemd, openrc) = (of(Init::Systemd), of(Init::OpenRc));
    if !systemd.is_empty() && facts.is_systemd {
        // A socket that is not masked starts its service again.
        let names = systemd.join(" ");
        return Finding {
            level: level(systemd.iter().copied()),
            what: "other engines",
            finding: format!("{} started at boot by systemd", list(&systemd)),
            fix: Some(format!("systemctl disable --now {names} && systemctl mask {names}")),
        };
    }
    if !openrc.is_empty() {
        let stop = |name: &&str| format!("rc-update del {name} && rc-service {name} stop");
        let fix: Vec<String> = openrc.iter().map(stop).collect();
        let finding = format!("{} started at boot by OpenRC", list(&openrc));
        let (level, fix) = (level(openrc.iter().copied()), Some(fix.join("; ")));
        return Finding { level, what: "other engines", finding, fix };
    }
    match systemd.is_empty() {
        true => Finding::pass("other engines", "none is started at boot"),
        false => Finding::pass(
            "other engines",
            format!("{} enabled, but it is not systemd that runs here", list(&systemd)),
        ),
    }
}

fn list(names: &[&str]) -> String {
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

/// Engines that live already.
pub(super) fn engines(facts: &Facts) -> Finding {
    let named =
        |each: &crate::setup::doctor::facts::Process| format!("{} (pid {})", each.name, each.pid);
    let names: Vec<String> = facts.engines.iter().map(named).collect();
    if names.is_empty() {
        return Finding::pass("running engines", "none but pisup's");
    }
    let pids: Vec<String> = facts.engines.iter().map(|each| each.pid.to_string()).collect();
    let fix = match facts.is_systemd {
        true => "systemctl stop docker.socket docker.service containerd.service".to_owned(),
        false => format!("kill {}", pids.join(" ")),
    };
    let level = level(facts.engines.iter().map(|each| each.name.as_str()));
    let finding = match level {
        Level::Warn => format!("{}: units that start their own use it instead", names.join(", ")),
        _ => format!("{}: two on one machine fight over sockets and bridges", names.join(", ")),
    };
    Finding { level, what: "running engines", finding, fix: Some(fix) }
}

/// A line for all that are there, and one for each that is not.
pub(super) fn programs(facts: &Facts) -> Vec<Finding> {
    let Some(wants) = &facts.wants else { return Vec::new() };
    let mut findings = Vec::new();
    let found = wants.programs.len() - facts.missing.len().min(wants.programs.len());
    if found > 0 {
        findings
            .push(Finding::pass("programs", format!("{found} of {} found", wants.programs.len())));
    }
    for program in facts.missing.iter().filter_map(|index| wants.programs.get(*index)) {
        let (name, unit) = (&program.name, &program.unit);
        let place = if name.starts_with('/') { "" } else { " in PATH" };
        let file = format!("{}/units/{unit}.toml", facts.config);
        let fix = format!("install {name}, or write another path into {file}");
        findings.push(match program.is_optional {
            false => {
                Finding::fail("programs", format!("{unit} needs {name}, not found{place}"), fix)
            }
            true => {
                Finding::warn("programs", format!("{unit} tries {name}, not found{place}"), fix)
            }
        });
    }
    findings
}

pub(super) fn iptables(facts: &Facts) -> Finding {
    let to = |kind: &str| {
        format!("update-alternatives --set iptables /usr/sbin/iptables-{kind}, then reboot")
    };
    match facts.iptables {
        None => Finding::fail("iptables", "not found", "install the package iptables"),
        Some(Iptables::Nft) if facts.has_legacy_tables => Finding::warn(
            "iptables",
            "over nf_tables, and there are legacy tables too: rules of one do not see the other's",
            "iptables-legacy-save shows whose they are; reboot without who made them",
        ),
        Some(Iptables::Legacy) if facts.has_nft_rules => Finding::warn(
            "iptables",
            "legacy, and there are rules over nf_tables too: one does not see the other's",
            to("nft"),
        ),
        Some(Iptables::Nft) => Finding::pass("iptables", "over nf_tables"),
        Some(Iptables::Legacy) => Finding::pass("iptables", "legacy"),
        Some(Iptables::Unknown) => Finding::pass("iptables", "there; it does not say which kind"),
    }
}
