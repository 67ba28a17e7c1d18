//! From a configuration directory to a plan: files, their owners, and what this machine is.

use std::path::Path;

use crate::config::{self, Defaults, Source, plan::Plan};
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
    let units = read.units.into_iter().map(source).collect();
    match config::load(node, units, &defaults()) {
        Ok(plan) if faults.is_empty() => Ok(plan),
        Ok(_) => Err(faults),
        Err(diagnostics) => {
            faults.extend(diagnostics.iter().map(ToString::to_string));
            Err(faults)
        }
    }
}

/// What node.toml need not say because the machine says it.
fn defaults() -> Defaults {
    let route = network::default_interface(None, |request| netlink::ask(request, ends));
    let route = route.ok().flatten();
    Defaults {
        hostname: host::name(),
        interface: route.as_ref().map(|(interface, _)| interface.clone()),
        address: route.map(|(_, address)| address.to_string()),
    }
}
