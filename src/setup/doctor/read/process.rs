//! Processes: container engines, and who has a watchdog.

use super::Root;
use crate::setup::doctor::facts::{Process, Watchdog};
use crate::sys::files;

/// Container engines that two cannot share a machine with by accident.
const ENGINES: [&str; 2] = ["dockerd", "containerd"];

/// Control groups of what runs in containers, which is no engine of this machine.
const INSIDE: [&str; 4] = ["/docker/", "/docker-", "/kubepods", "/lxc"];

/// So far up are parents looked for.
const MAX_DEPTH: usize = 32;

/// Effective capabilities of this process.
pub(super) fn capabilities(root: &Root) -> Option<u64> {
    let status = root.text("/proc/self/status")?;
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(bits.trim(), 16).ok()
}

/// Engines that live and were started by somebody else.
pub(super) fn engines(root: &Root) -> Vec<Process> {
    let all = pids(root).into_iter().filter_map(|pid| {
        let name = name(root, pid)?;
        let groups = root.text(&format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let is_inside = INSIDE.iter().any(|part| groups.contains(part));
        // A dead one that nobody has waited for has no command line.
        let is_alive = !root.text(&format!("/proc/{pid}/cmdline"))?.is_empty();
        let is_engine = is_alive && !is_inside && ENGINES.contains(&name.as_str());
        (is_engine && !groups.contains("/pisup") && !is_ours(root, pid))
            .then_some(Process { pid, name })
    });
    all.collect()
}

/// Whether a supervisor stands above it.
fn is_ours(root: &Root, mut pid: u32) -> bool {
    for _ in 0..MAX_DEPTH {
        let status = root.text(&format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        match parent.and_then(|text| text.trim().parse().ok()) {
            None | Some(0) => return false,
            Some(parent) => pid = parent,
        }
        if name(root, pid).is_some_and(|name| name.starts_with("pisup")) {
            return true;
        }
    }
    false
}

/// The first watchdog, and who has it open.
pub(super) fn watchdog(root: &Root) -> Option<Watchdog> {
    let known = root.names("/sys/class/watchdog").into_iter().next();
    if known.is_none() && !root.has("/dev/watchdog") {
        return None;
    }
    let identity =
        known.and_then(|name| root.value(&format!("/sys/class/watchdog/{name}/identity")));
    let holder = pids(root).into_iter().find(|pid| {
        let folder = format!("/proc/{pid}/fd");
        root.names(&folder).iter().any(|descriptor| {
            let to = files::link(&root.at(&format!("{folder}/{descriptor}")));
            to.is_some_and(|to| to.to_string_lossy().starts_with("/dev/watchdog"))
        })
    });
    let holder = holder.map(|pid| Process { pid, name: name(root, pid).unwrap_or_default() });
    Some(Watchdog { identity: identity.unwrap_or_else(|| "/dev/watchdog".to_owned()), holder })
}

fn pids(root: &Root) -> Vec<u32> {
    root.names("/proc").iter().filter_map(|name| name.parse().ok()).collect()
}

fn name(root: &Root, pid: u32) -> Option<String> {
    root.value(&format!("/proc/{pid}/comm"))
}
