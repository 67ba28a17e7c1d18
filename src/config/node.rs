//! `node.toml`: what this node is, and the values that units may use.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use toml::de::DeTable;

use super::diag::File;
use super::plan::{Node, RouteWait, Watchdog};
use super::read::{Document, Section, Word};
use super::{Defaults, Hints, keys, scalar};

/// The default of `[shutdown] timeout`.
const SHUTDOWN_MS: u64 = 120_000;

/// The default and the longest of `[watchdog] timeout`.
const WATCHDOG_MS: u64 = 15_000;

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    Worker,
}

pub(super) const ROLES: &[(&str, Role)] = &[("master", Role::Master), ("worker", Role::Worker)];

/// What the units of this node can refer to.
#[derive(Default)]
pub(super) struct Site {
    pub(super) node: Node,
    pub(super) images: BTreeMap<String, String>,
    pub(super) vars: BTreeMap<String, String>,
    /// `None` when the file does not say it.
    pub(super) role: Option<Role>,
    /// Keys whose value the host was asked for in vain.
    pub(super) undetected: Vec<&'static str>,
    /// Whether the file could be read: otherwise nothing is called unknown.
    pub(super) is_whole: bool,
}

impl Site {
    /// The role as it is written.
    pub(super) fn role_name(&self) -> &'static str {
        ROLES.iter().find(|(_, role)| Some(*role) == self.role).map_or("node", |(name, _)| name)
    }
}

/// Reads the node's file.
///
/// A value that is wrong is told and kept as it is, so that units that use it are not blamed.
pub(super) fn read(file: &File<'_>, document: &Document<'_>, defaults: &Defaults) -> Site {
    let Some(table) = document else {
        return Site::default();
    };
    keys::check(file, table, keys::NODE);
    let top = Section::top(file, table);
    let mut site = Site { is_whole: true, role: role(&top), ..Site::default() };
    site.node.shutdown_timeout_ms =
        Section::of(file, table, "shutdown").duration("timeout", SHUTDOWN_MS, 1000);
    site.node.watchdog = watchdog(&Section::of(file, table, "watchdog"));
    let control = Section::of(file, table, "control");
    site.node.read_group = checked(&control, "read-group", group);
    site.images = free(&Section::of(file, table, "images"));
    site.vars = free(&Section::of(file, table, "vars"));

    let network = Section::of(file, table, "network");
    let values = [
        top.word("role").map(|word| ("role", word.text.to_owned())),
        name(&top, defaults).map(|name| ("name", name)),
        interface(&top, defaults).map(|name| ("interface", name)),
        address(&top, defaults).map(|address| ("address", address)),
        checked(&top, "profile", profile).map(|name| ("profile", name)),
        checked(&network, "cidr", |text| scalar::cidr(text, true)).map(|cidr| ("cidr", cidr)),
        checked(&network, "backend", backend).map(|name| ("backend", name)),
    ];
    let values = values.into_iter().flatten();
    site.node.values = values.map(|(key, value)| (key.to_owned(), value)).collect();
    if let Some(master) = master(&top, &site) {
        site.node.values.insert("master".to_owned(), master);
    }
    let is_missing = |key: &&str| !site.node.values.contains_key(*key);
    site.undetected = ["interface", "address", "master"].into_iter().filter(is_missing).collect();
    site
}

/// What a caller has to know before it can ask the host for the defaults.
pub(super) fn hints(text: &str) -> Hints {
    let (document, _) = DeTable::parse_recoverable(text);
    let table = document.get_ref();
    let get = |key: &str| table.get(key).and_then(|value| value.get_ref().as_str());
    let master = get("master").and_then(|text| text.parse::<Ipv4Addr>().ok());
    let toward = match (get("role"), master) {
        (Some("worker"), Some(master)) => RouteWait::To(master),
        _ => RouteWait::Default,
    };
    Hints {
        toward,
        interface: get("interface").map(str::to_owned),
        has_address: get("address").is_some(),
    }
}

fn watchdog(section: &Section<'_>) -> Option<Watchdog> {
    let timeout_ms = section.duration("timeout", WATCHDOG_MS, 1000);
    if timeout_ms > WATCHDOG_MS {
        section.fault(
            "timeout",
            "`timeout` in [watchdog] is longer than a Pi's watchdog can count",
            "the most is \"15s\"",
        );
    }
    let device = section.word("device").map(|word| PathBuf::from(word.text));
    if device.as_ref().is_some_and(|path| !path.is_absolute()) {
        section.fault(
            "device",
            "`device` in [watchdog] must be a whole path",
            "write \"/dev/watchdog\"",
        );
    }
    section.is_there().then_some(Watchdog { device, timeout_ms })
}

fn role(top: &Section<'_>) -> Option<Role> {
    if !top.has("role") {
        top.file.report_whole(
            "`role` is missing",
            Some("write role = \"master\" or \"worker\"".into()),
        );
    }
    top.choice("role", ROLES)
}

/// A value that is kept as it is written, also when it is wrong.
fn checked<T>(
    section: &Section<'_>,
    key: &str,
    check: fn(&str) -> scalar::Parsed<T>,
) -> Option<String> {
    let word = section.word(key)?;
    let _ = word.parse(check);
    Some(word.text.to_owned())
}

fn name(top: &Section<'_>, defaults: &Defaults) -> Option<String> {
    let detected = || Some(defaults.hostname.to_lowercase()).filter(|name| !name.is_empty());
    checked(top, "name", host_name).or_else(detected)
}

fn interface(top: &Section<'_>, defaults: &Defaults) -> Option<String> {
    checked(top, "interface", scalar::interface).or_else(|| defaults.interface.clone())
}

fn address(top: &Section<'_>, defaults: &Defaults) -> Option<String> {
    checked(top, "address", scalar::node_address).or_else(|| {
        defaults.address.clone().filter(|address| scalar::node_address(address).is_ok())
    })
}

/// On a master it is the node itself, unless it says otherwise.
fn master(top: &Section<'_>, site: &Site) -> Option<String> {
    if let Some(word) = top.word("master") {
        let _ = word.parse(master_address);
        return Some(word.text.to_owned());
    }
    if site.role == Some(Role::Worker) {
        if !top.has("master") {
            let help = "write master = \"ADDRESS\", the master's address in your network";
            top.fault("role", "a worker has to know its `master`", help);
        }
        return Some(String::from("master"));
    }
    site.node.values.get("address").cloned()
}

/// `[images]` and `[vars]`: names and texts, taken as they are.
fn free(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (name, item) in section.items() {
        if !scalar::is_free_name(name.text) {
            let help = "letters, digits, `_` and `-`";
            name.fault(format!("`{}` can not be referred to", name.text), help);
        }
        let word = item.word();
        if let Some(word) = word.as_ref().filter(|word| word.text.contains("${")) {
            let help = "write the text out; references work in units";
            word.fault(format!("{} is not expanded", word.label), help);
        }
        let text = word.map_or("?", |word: Word<'_>| word.text);
        values.insert(name.text.to_owned(), text.to_owned());
    }
    values
}

fn host_name(text: &str) -> scalar::Parsed<()> {
    let is_label = |label: &str| {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_good) && !label.starts_with('-')
    };
    match text.len() <= 253 && text.split('.').all(is_label) {
        true => Ok(()),
        false => Err("is no host name; write small letters, digits, `-` and dots".to_owned()),
    }
}

/// Whether there is such a group is for the host to say, and may change.
fn group(text: &str) -> scalar::Parsed<()> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    match !text.is_empty() && text.len() <= 32 && text.bytes().all(is_good) {
        true => Ok(()),
        false => Err("is no group; write a name or a number".to_owned()),
    }
}

fn master_address(text: &str) -> scalar::Parsed<()> {
    let is_numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_numeric || text.contains(':') {
        return scalar::node_address(text).map(|_| ());
    }
    if text == "localhost" {
        return scalar::node_address("127.0.0.1").map(|_| ());
    }
    host_name(text)
}

fn profile(text: &str) -> scalar::Parsed<()> {
    match scalar::is_unit_name(text) {
        true => Ok(()),
        false => Err("is no profile; write \"classic\" or \"native\"".to_owned()),
    }
}

fn backend(text: &str) -> scalar::Parsed<()> {
    match scalar::is_unit_name(text) {
        true => Ok(()),
        false => Err("is no backend; write \"host-gw\", \"vxlan\" or \"udp\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts() {
        assert!(host_name("pi-1").is_ok() && host_name("pi.lan").is_ok());
        for text in ["", "Pi", "a_b", "-a", "a..b", "a b"] {
            assert!(host_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn masters() {
        assert!(master_address("192.168.1.10").is_ok() && master_address("pi-1.lan").is_ok());
        for text in ["", "127.0.0.1", "localhost", "1.2.3", "::1", "1.2.3.4:80"] {
            assert!(master_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hints_survive_anything() {
        let hints = hints("role = \"worker\"\nmaster = \"10.0.0.1\"\n[[[");
        assert_eq!(hints.toward, RouteWait::To(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(!hints.has_address);
    }
}
