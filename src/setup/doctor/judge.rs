//! What was seen, judged. Every fix is a line to type, or names the file and what goes into it.

mod board;
mod kernel;
mod network;
mod software;

use super::Finding;
use super::facts::Facts;

/// All findings, in the order in which a machine is made fit.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        board::machine(facts),
        software::config(facts),
        software::rights(facts),
        board::clock(facts),
        board::power(facts),
        board::space(facts),
        board::watchdog(facts),
        kernel::memory(facts),
    ];
    findings.extend(kernel::modules(facts));
    findings.extend([kernel::forwarding(facts), network::route(facts), network::name(facts)]);
    findings.push(network::localhost(facts));
    findings.extend(network::overlaps(facts));
    findings.push(software::services(facts));
    findings.push(software::engines(facts));
    findings.extend(software::programs(facts));
    findings.push(software::iptables(facts));
    findings
}

/// Whether the firmware is a Pi's.
fn is_pi(facts: &Facts) -> bool {
    facts.model.as_ref().is_some_and(|model| model.contains("Raspberry Pi"))
}

/// `1 unit`, `2 units`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
