//! From a configuration directory to a plan: files, their owners, and what this machine is.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use crate::config::plan::{Plan, RouteWait};
use crate::config::{self, Defaults, Hints, Source};
use crate::sys::netlink::{self, Monitor};
use crate::sys::{config_dir, host};
use crate::wire::netlink::ends;
use crate::wire::network;

/// How long to wait for news of the network before looking all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Why a configuration cannot be used.
struct Refusal {
    /// Everything that is wrong with it, a text each.
    faults: Vec<String>,
    /// Nothing but what the network does not tell yet: this node's interface or address.
    is_early: bool,
}

/// Reads and checks a whole configuration.
///
/// # Errors
///
/// Everything that is wrong with it, a text each; nothing of it is used then.
pub fn load(directory: &Path) -> Result<Plan, Vec<String>> {
    attempt(directory).map_err(|refusal| refusal.faults)
}

/// The same at boot, when the network may be late: waits until it says what node.toml does not.
/// `tell` hears once what is waited for.
///
/// # Errors
///
/// As for [`load`]; also what is missing of the network, if nobody can hear of it.
pub fn load_when_told(directory: &Path, tell: impl FnOnce(&[String])) -> Result<Plan, Vec<String>> {
    // Heard from before the first look on, or what comes in between would be missed.
    let monitor = Monitor::open();
    let mut tell = Some(tell);
    loop {
        let refusal = match attempt(directory) {
            Ok(plan) => return Ok(plan),
            Err(refusal) => refusal,
        };
        let Some(monitor) = monitor.as_ref().ok().filter(|_| refusal.is_early) else {
            return Err(refusal.faults);
        };
        if let Some(tell) = tell.take() {
            tell(&refusal.faults);
        }
        if monitor.wait(LOOK_AGAIN).is_err() {
            return Err(refusal.faults);
        }
    }
}

fn attempt(directory: &Path) -> Result<Plan, Refusal> {
    let read = config_dir::read_config(directory);
    let mut faults = read.faults;
    let source = |(path, text): config_dir::Text| Source { path, text };
    let Some(node) = read.node.map(source) else {
        return Err(Refusal { faults, is_early: false });
    };
    let defaults = defaults(&config::hints(&node.text));
    let units = read.units.into_iter().map(source).collect();
    match config::load_beside(node, units, &read.refused, &defaults) {
        Ok(plan) if faults.is_empty() => Ok(plan),
        Ok(_) => Err(Refusal { faults, is_early: false }),
        Err(diagnostics) => {
            let is_early = faults.is_empty() && diagnostics.iter().all(|each| each.is_undetected);
            faults.extend(diagnostics.iter().map(ToString::to_string));
            Err(Refusal { faults, is_early })
        }
    }
}

/// What node.toml need not say because the machine says it.
#[must_use]
pub fn defaults(hints: &Hints) -> Defaults {
    let mut ask = |request: &[u8]| netlink::ask(request, ends);
    let to = match hints.toward {
        RouteWait::Default => None,
        RouteWait::To(address) => Some(address),
    };
    let route = network::default_interface(to, &mut ask).ok().flatten();
    let (interface, address) = match &hints.interface {
        Some(name) => (Some(name.clone()), address_of(name, &mut ask)),
        None => route.map_or((None, None), |(name, address)| (Some(name), Some(address))),
    };
    Defaults {
        hostname: host::name(),
        interface,
        address: address.map(|address| address.to_string()),
    }
}

/// The address of an interface that is named.
fn address_of(name: &str, ask: &mut impl FnMut(&[u8]) -> io::Result<Vec<u8>>) -> Option<Ipv4Addr> {
    let link = network::link(name, &mut *ask).ok().flatten()?;
    let addresses = network::addresses(ask).ok()?;
    let own = || addresses.iter().filter(|address| address.index == link.index);
    own().find(|address| address.is_global).or_else(|| own().next()).map(|each| each.address)
}
