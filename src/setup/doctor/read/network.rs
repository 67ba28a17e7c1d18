//! Interfaces and routes.

use std::net::Ipv4Addr;

use super::Root;
use crate::setup::doctor::facts::Route;

/// Flags of a route: it is usable, it leads over another machine.
const UP: u32 = 1;
const GATEWAY: u32 = 2;

/// Routes that are up.
pub(super) fn routes(root: &Root) -> Vec<Route> {
    let text = root.text("/proc/net/route").unwrap_or_default();
    text.lines().skip(1).filter_map(route).collect()
}

fn route(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    // Addresses stand there as the machine keeps them, and all of ours keep the first byte first.
    let hex = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok();
    let flags = hex(3)?;
    (flags & UP != 0).then_some(Route {
        interface: (*words.first()?).to_owned(),
        network: Ipv4Addr::from(hex(1)?.swap_bytes()),
        prefix: hex(7)?.count_ones(),
        has_gateway: flags & GATEWAY != 0,
    })
}

/// Interfaces whose folder has something of that name.
pub(super) fn interfaces(root: &Root, name: &str) -> Vec<String> {
    let all = root.names("/sys/class/net");
    all.into_iter().filter(|each| root.has(&format!("/sys/class/net/{each}/{name}"))).collect()
}

/// Whether rules use the part of nf_tables that iptables needs.
pub(super) fn has_nft_rules(modules: &str) -> bool {
    let mut lines = modules.lines().map(|line| line.split(' '));
    lines.any(|mut words| {
        let is_it = words.next() == Some("nft_compat");
        is_it && words.nth(1).is_some_and(|users| users != "0")
    })
}
