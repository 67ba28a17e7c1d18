//! From a configuration directory to a plan: files, their owners, and what this machine is.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::config::plan::{Plan, RouteWait};
use crate::config::{self, Defaults, Hints, Source};
use crate::sys::{config_dir, host, netlink};
use crate::wire::netlink::ends;
use crate::wire::network;

/// Reads and checks a whole configuration.
///
/// # Errors
///
/// Everything that is wrong with it, a text each; nothing of it is used then.
pub fn load(directory: &Path) -> Result<Plan, Vec<String>> {
    let read = config_dir::read_config(directory);
    let mut faults = read.faults;
    let source = |(path, text): config_dir::Text| Source { path, text };
    let Some(node) = read.node.map(source) else {
        return Err(faults);
    };
    let defaults = defaults(&config::hints(&node.text));
    let units = read.units.into_iter().map(source).collect();
    match config::load_beside(node, units, &read.refused, &defaults) {
        Ok(plan) if faults.is_empty() => Ok(plan),
        Ok(_) => Err(faults),
        Err(diagnostics) => {
            faults.extend(diagnostics.iter().map(ToString::to_string));
            Err(faults)
        }
    }
}

/// What node.toml need not say because the machine says it.
fn defaults(hints: &Hints) -> Defaults {
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
