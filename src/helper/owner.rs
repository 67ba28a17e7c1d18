//! Which living container engine uses a bridge.
//!
//! The kernel does not know who made a bridge, so the processes are asked: an engine that lives in
//! our network namespace uses the bridge that its command line names, else the one of its
//! configuration file, else its default. Each has exactly one, and `none` is none.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::wire::engine::configured_bridge;

/// Longest command line and configuration file that are looked at, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

const DEFAULT_BRIDGE: &str = "docker0";
const DEFAULT_CONFIG: &str = "/etc/docker/daemon.json";

/// A process that uses a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

/// The living engine that uses this bridge of our network namespace. Processes that cannot be
/// looked at do not count: who may delete a bridge may look.
#[must_use]
pub fn of_bridge(bridge: &str) -> Option<Owner> {
    let proc = Path::new("/proc");
    let namespace = fs::read_link(proc.join("self/ns/net")).ok()?;
    let entries = fs::read_dir(proc).ok()?;
    entries.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let home = entry.path();
        let name = read(&home.join("comm"))?.trim_end().to_owned();
        // A zombie has no arguments any more, and a dead engine owns nothing.
        let arguments = read(&home.join("cmdline"))?;
        let arguments: Vec<&str> = arguments.split_terminator('\0').collect();
        if !is_engine(&name, &arguments) || fs::read_link(home.join("ns/net")).ok()? != namespace {
            return None;
        }
        (bridge_of(&arguments, &home) == bridge).then_some(Owner { pid, name })
    })
}

/// `dockerd`, and `docker daemon` or `docker -d` up to 1.12.
fn is_engine(name: &str, arguments: &[&str]) -> bool {
    match name {
        "dockerd" => !arguments.is_empty(),
        "docker" => arguments.iter().skip(1).any(|word| *word == "daemon" || *word == "-d"),
        _ => false,
    }
}

fn bridge_of(arguments: &[&str], home: &Path) -> String {
    let named = option(arguments, &["--bridge", "-b"]).map(ToOwned::to_owned);
    let configured = || {
        let path = option(arguments, &["--config-file"]).unwrap_or(DEFAULT_CONFIG);
        // Its files are those of its own root.
        let path: PathBuf = path.trim_start_matches('/').into();
        configured_bridge(read(&home.join("root").join(path))?.as_bytes())
    };
    let bridge = named.or_else(configured).filter(|bridge| !bridge.is_empty());
    bridge.unwrap_or_else(|| DEFAULT_BRIDGE.to_owned())
}

/// The value of an option, which may stand behind `=` or in the next word; the last one counts.
fn option<'a>(arguments: &[&'a str], names: &[&str]) -> Option<&'a str> {
    let mut found = None;
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((*word, None), |(n, v)| (n, Some(v)));
        if names.contains(&name) {
            found = value.or_else(|| words.next().copied());
        }
    }
    found
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_programs_are_engines() {
        for (name, line, is_one) in [
            ("dockerd", "dockerd -H fd://", true),
            ("dockerd", "", false),
            ("docker", "docker daemon --bip=1.2.3.4/24", true),
            ("docker", "/usr/bin/docker -d", true),
            ("docker", "docker ps", false),
            ("docker-proxy", "docker-proxy -d", false),
        ] {
            let arguments: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(is_engine(name, &arguments), is_one, "{name} {line}");
        }
    }

    #[test]
    fn which_bridge_a_command_line_names() {
        let nowhere = Path::new("/nonexistent");
        for (line, bridge) in [
            ("dockerd", "docker0"),
            ("dockerd --bip=10.1.78.1/24", "docker0"),
            ("dockerd --bridge=none", "none"),
            ("dockerd --bridge boot0", "boot0"),
            ("dockerd -b boot0 -H fd://", "boot0"),
            ("dockerd -b=boot0", "boot0"),
            ("dockerd --bridge=", "docker0"),
            ("dockerd --bridge=a --bridge=b", "b"),
            ("dockerd --bridge", "docker0"),
        ] {
            let arguments: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(bridge_of(&arguments, nowhere), bridge, "{line}");
        }
    }
}
