//! `pisup bridge-reset NAME [ADDRESS/PREFIX]`: makes sure that a bridge is absent, or already has
//! the address that its engine is about to ask for.
//!
//! An engine refuses to start, or keeps its old subnet, when its bridge has another address. What
//! is right already stays: containers that outlived their engine keep their ports. What is not a
//! bridge, and what a living engine uses, is refused and left alone.

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{Failure, end, owner, texts};
use crate::sys::netlink::{Monitor, ask};
use crate::sys::{errno, reason};
use crate::wire::netlink::{self, Link};
use crate::wire::network;

/// How long a deleted bridge may take to be gone; an interface that is still referred to takes a
/// second or two.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Deleting is tried so many times: something else may make the bridge again in between.
const TRIES: u32 = 2;

/// An IPv4 address and the bits of its network.
type Wanted = (Ipv4Addr, u8);

/// The entry point of the process; its exit code.
#[must_use]
pub fn main(args: Vec<OsString>) -> u8 {
    end(arguments(args).and_then(|(name, wanted)| reset(&name, wanted)))
}

fn arguments(args: Vec<OsString>) -> Result<(String, Option<Wanted>), Failure> {
    let usage =
        |why: &str| Failure::Usage(format!("{why}usage: pisup bridge-reset NAME [ADDRESS/PREFIX]"));
    let (name, address) = match texts(args)?.as_slice() {
        [name] => (name.clone(), None),
        [name, address] => (name.clone(), Some(address.clone())),
        _ => return Err(usage("")),
    };
    let is_name = (1..16).contains(&name.len())
        && !matches!(name.as_str(), "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    if !is_name {
        return Err(usage(&format!("{name:?} does not name an interface; ")));
    }
    let Some(text) = address else { return Ok((name, None)) };
    let wanted = text.split_once('/').and_then(|(address, prefix)| {
        Some((address.parse().ok()?, prefix.parse().ok().filter(|bits| *bits <= 32)?))
    });
    match wanted {
        Some(wanted) => Ok((name, Some(wanted))),
        None => Err(usage(&format!("{text:?} is not an address like 10.1.78.1/24; "))),
    }
}

/// Resets the bridge; the sentence says what was done.
pub fn reset(name: &str, wanted: Option<Wanted>) -> Result<String, Failure> {
    let Some(link) = find(name)? else {
        return Ok(format!("{name} is absent: nothing to do"));
    };
    if link.kind != "bridge" {
        let kind = if link.kind.is_empty() { "a network card" } else { &link.kind };
        return Err(Failure::Failed(format!("{name} is not a bridge ({kind}): left alone")));
    }
    let state = state(&link)?;
    if let Some(wanted) = wanted.filter(|wanted| state.is_right(*wanted)) {
        return Ok(format!("{name} already has {}: left as it is{state}", slash(&wanted)));
    }
    if let Some(owner) = owner::of_bridge(name) {
        return Err(Failure::Failed(format!(
            "{name} is used by {} (pid {}), which is alive: left alone; stop that first",
            owner.name, owner.pid
        )));
    }
    delete(link)?;
    let had = match state.addresses.as_slice() {
        [] => "no address".to_owned(),
        addresses => addresses.iter().map(slash).collect::<Vec<_>>().join(" and "),
    };
    Ok(format!("{name} had {had} and was deleted{state}"))
}

struct State {
    addresses: Vec<Wanted>,
    ports: Vec<Link>,
}

impl State {
    /// A port that is not one end of a veth pair was put there by somebody else; the other ends
    /// belong to containers that live on.
    fn is_right(&self, wanted: Wanted) -> bool {
        self.addresses == [wanted] && self.ports.iter().all(|port| port.kind == "veth")
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |is_wanted: fn(&Link) -> bool| {
            let ports = self.ports.iter().filter(|port| is_wanted(port));
            ports.map(|port| port.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        for (word, names) in [
            ("container ports", list(|port| port.kind == "veth")),
            ("foreign ports", list(|port| port.kind != "veth")),
        ] {
            if !names.is_empty() {
                write!(f, "; {word}: {names}")?;
            }
        }
        Ok(())
    }
}

fn state(link: &Link) -> Result<State, Failure> {
    let name = &link.name;
    let addresses = network::addresses(to_kernel).map_err(|error| told("reading", name, &error))?;
    let own = addresses.iter().filter(|address| address.index == link.index);
    let links = network::links(to_kernel).map_err(|error| told("reading", name, &error))?;
    Ok(State {
        addresses: own.map(|address| (address.address, address.prefix)).collect(),
        ports: links.into_iter().filter(|port| port.master == Some(link.index)).collect(),
    })
}

fn delete(mut link: Link) -> Result<(), Failure> {
    let name = link.name.clone();
    // Opened first, so that no event is missed.
    let monitor = Monitor::open().map_err(|error| told("watching", &name, &error))?;
    for _ in 0..TRIES {
        for request in [netlink::set_down(link.index), netlink::delete_link(link.index)] {
            match network::answer(&request, to_kernel) {
                Err(error) if error.raw_os_error() == Some(netlink::NO_DEVICE) => break,
                result => result.map_err(|error| told("deleting", &name, &error))?,
            };
        }
        let until = Instant::now() + GONE_WITHIN;
        loop {
            match find(&name)? {
                None => return Ok(()),
                // Another one of that name.
                Some(other) if other.index != link.index => {
                    link = other;
                    break;
                }
                Some(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            monitor.wait(left).map_err(|error| told("watching", &name, &error))?;
        }
    }
    Err(Failure::Failed(format!(
        "{name} was deleted {TRIES} times and is still there: something holds it or makes it again"
    )))
}

fn find(name: &str) -> Result<Option<Link>, Failure> {
    network::link(name, to_kernel).map_err(|error| told("looking for", name, &error))
}

fn to_kernel(request: &[u8]) -> io::Result<Vec<u8>> {
    ask(request, netlink::ends)
}

fn told(doing: &str, name: &str, error: &io::Error) -> Failure {
    let why = match error.raw_os_error() {
        Some(_) => reason(errno(error)),
        None => error.to_string(),
    };
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => " (it takes root, or the capability NET_ADMIN)",
        _ => "",
    };
    Failure::Failed(format!("{doing} {name}: {why}{fix}"))
}

fn slash(wanted: &Wanted) -> String {
    format!("{}/{}", wanted.0, wanted.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> Result<(String, Option<Wanted>), Failure> {
        arguments(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn good_lines() {
        assert_eq!(given("docker0"), Ok(("docker0".into(), None)));
        let wanted = (Ipv4Addr::new(10, 1, 78, 1), 24);
        assert_eq!(given("docker0 10.1.78.1/24"), Ok(("docker0".into(), Some(wanted))));
    }

    #[test]
    fn bad_lines() {
        for line in [
            "",
            "a b c",
            "../x",
            "a/b",
            "..",
            "sixteen-letters-",
            "docker0 10.1.78.1",
            "docker0 10.1.78/24",
            "docker0 10.1.78.1/33",
            "docker0 10.1.78.1/-1",
            "docker0 fd00::1/64",
        ] {
            let Err(Failure::Usage(why)) = given(line) else { panic!("{line}") };
            assert!(why.ends_with("usage: pisup bridge-reset NAME [ADDRESS/PREFIX]"), "{why}");
        }
    }
}
