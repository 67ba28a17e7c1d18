//! The kernel: what it can do, and what it was told not to.

use super::{Finding, is_pi};
use crate::setup::doctor::facts::{Facts, Module};

/// What every node needs of a kernel.
const ALWAYS: [&str; 4] = ["bridge", "br_netfilter", "veth", "overlay"];

/// One of these translates addresses.
const NAT: [&str; 2] = ["iptable_nat", "nft_chain_nat"];

pub(super) fn memory(facts: &Facts) -> Finding {
    let memory = &facts.memory;
    match (memory.in_v2, memory.in_v1) {
        (Some(true), _) => Finding::pass("memory control", "effective (cgroup v2)"),
        (_, true) => Finding::pass("memory control", "effective (cgroup v1)"),
        (None, false) if memory.in_kernel => {
            let fix = "mount -t cgroup2 cgroup2 /sys/fs/cgroup (pisup-init and other inits do it)";
            Finding::fail("memory control", "in the kernel, but no hierarchy is mounted", fix)
        }
        (Some(false), false) if memory.in_kernel => Finding::warn(
            "memory control",
            "in the kernel, but not in /sys/fs/cgroup/cgroup.controllers: a container's view?",
            "start with the machine's own /sys/fs/cgroup",
        ),
        _ => no_memory(facts),
    }
}

/// The effective state is what counts, never what stands in the file: the firmware's device tree
/// may add words of its own before those of the file.
fn no_memory(facts: &Facts) -> Finding {
    let has = |word: &str| facts.command_line.split_whitespace().any(|each| each == word);
    let disabled = "cgroup_disable=memory";
    let finding = match (has(disabled), has("cgroup_enable=memory")) {
        (true, _) => format!(
            "switched off; the kernel was told {disabled}, which a Pi's firmware may put before \
             your own words"
        ),
        (false, true) => "off, although the kernel was told cgroup_enable=memory".to_owned(),
        (false, false) => "switched off".to_owned(),
    };
    let file = facts.command_line_file.as_deref();
    let fix = match (has("cgroup_enable=memory"), file.filter(|_| is_pi(facts))) {
        (false, Some(file)) => format!(
            "sed -i '1s/$/ cgroup_enable=memory/' {file} && reboot (one line; an old kernel \
             wants cgroup_memory=1 as well)"
        ),
        (false, None) if is_pi(facts) => {
            "cgroup_enable=memory at the end of the one line of /boot/firmware/cmdline.txt \
             (before Debian 12: /boot/cmdline.txt), then reboot"
                .to_owned()
        }
        (true, _) => format!("another kernel: {} ignores it; see /proc/cmdline", facts.kernel),
        (false, None) => "cgroup_enable=memory in the boot loader's kernel line".to_owned(),
    };
    Finding::fail("memory control", finding, fix)
}

/// A line for all that is there, and one for each that is not.
pub(super) fn modules(facts: &Facts) -> Vec<Finding> {
    let state = |name: &str| facts.modules.get(name).copied().unwrap_or(Module::Unknown);
    let backend = facts.wants.as_ref().and_then(|wants| wants.backend.as_deref());
    let way = match backend {
        Some("vxlan") => Some("vxlan"),
        Some("udp") => Some("tun"),
        _ => None,
    };
    let (mut present, mut loadable) = (Vec::new(), Vec::new());
    let mut findings = Vec::new();
    let mut look = |name: &'static str, module: Module| match module {
        Module::Present => present.push(name),
        Module::Loadable => loadable.push(name),
        Module::Missing => findings.push(Finding::fail(
            "kernel",
            format!("{} has no {name}", facts.kernel),
            format!("a kernel with {name}; if this one was just upgraded, reboot"),
        )),
        Module::Unknown => findings.push(Finding::warn(
            "kernel",
            format!("{name} is not loaded, and /lib/modules/{} lists none", facts.kernel),
            format!("modprobe {name}"),
        )),
    };
    for name in ALWAYS.into_iter().chain(way) {
        look(name, state(name));
    }
    let [first, second] = NAT;
    // Nothing but the best of the two counts.
    match (rank(state(first)), rank(state(second))) {
        (a, b) if a <= b => look(first, state(first)),
        _ => look(second, state(second)),
    }
    let lists = [("has ", present), ("can load ", loadable)];
    let lists = lists.iter().filter(|(_, names)| !names.is_empty());
    let good: Vec<String> =
        lists.map(|(verb, names)| verb.to_string() + &names.join(", ")).collect();
    if !good.is_empty() {
        findings.insert(0, Finding::pass("kernel", good.join("; ")));
    }
    findings
}

const fn rank(module: Module) -> u8 {
    match module {
        Module::Present => 0,
        Module::Loadable => 1,
        Module::Unknown => 2,
        Module::Missing => 3,
    }
}

pub(super) fn forwarding(facts: &Facts) -> Finding {
    let turns_on = facts.wants.as_ref().is_some_and(|wants| wants.turns_on_forwarding);
    let fix = "sysctl -w net.ipv4.ip_forward=1, and the same in /etc/sysctl.d/pisup.conf";
    match (facts.forwards, turns_on) {
        (Some(true), _) => Finding::pass("forwarding", "on"),
        (Some(false), true) => Finding::pass("forwarding", "off; a unit switches it on"),
        (Some(false), false) => Finding::fail("forwarding", "off: no pod is reached", fix),
        (None, _) => Finding::warn("forwarding", "/proc does not tell", fix),
    }
}
