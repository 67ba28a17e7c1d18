//! Text to plan: the only home of TOML.
//!
//! [`load`] reads no file and asks nobody: the caller brings the texts, and the defaults that only
//! the host knows. It finds all errors of all files at once, or answers with a [`Plan`] in which
//! every default is filled in and every reference leads somewhere.

mod clash;
mod diag;
mod difference;
mod foreign;
mod graph;
mod head;
mod job;
mod keys;
mod lower;
mod node;
pub mod plan;
mod read;
mod ready;
mod scalar;
mod template;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use diag::{Diagnostic, nearest};
pub use difference::{Change, difference, made_of, of_release, renumbered};
pub use foreign::fill;
pub use words::{signal_name, signal_number};

use diag::File;
use head::Head;
use plan::{Plan, RouteWait};
use template::{Peer, Peers};

/// A node has a dozen units; UnitId and the tables of the machine are made for this many.
const MAX_UNITS: usize = 256;

/// A file that somebody has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is called in errors; the stem is the unit's name.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// A file as it was read; what is no UTF-8 is refused.
    pub fn from_bytes(path: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self, Diagnostic> {
        let path = path.into();
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => {
                let good = error.as_bytes().get(..error.utf8_error().valid_up_to());
                let line = good.map_or(0, |good| good.iter().filter(|b| **b == b'\n').count()) + 1;
                Err(Diagnostic::of_file(&path, format!("is no UTF-8 text (line {line})")))
            }
        }
    }
}

/// What the host says where `node.toml` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `${node.name}`.
    pub hostname: String,
    /// `${node.interface}`: the interface of the route to the master, or of the default route.
    pub interface: Option<String>,
    /// `${node.address}`: that interface's IPv4 address.
    pub address: Option<String>,
}

/// What has to be known of `node.toml` to find the [`Defaults`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints {
    /// The route whose interface counts.
    pub toward: RouteWait,
    /// The interface, if the file names it: then only its address is missing.
    pub interface: Option<String>,
    /// Whether the file names the address.
    pub has_address: bool,
}

/// What to ask the host for before [`load`]; any text has an answer.
#[must_use]
pub fn hints(node: &str) -> Hints {
    node::hints(node)
}

/// Reads a configuration: the plan, or everything that is wrong, by file and line.
pub fn load(
    node: Source,
    units: Vec<Source>,
    defaults: &Defaults,
) -> Result<Plan, Vec<Diagnostic>> {
    load_beside(node, units, &[], defaults)
}

/// The same beside files of units that could not be read: they are no unknown units.
pub fn load_beside(
    node: Source,
    mut units: Vec<Source>,
    unread: &[PathBuf],
    defaults: &Defaults,
) -> Result<Plan, Vec<Diagnostic>> {
    units.sort_by(|a, b| a.path.cmp(&b.path));
    let node_file = File::new(&node.path, &node.text);
    let site = node::read(&node_file, &read::parse(&node_file), defaults);
    let mut files: Vec<File<'_>> =
        units.iter().map(|unit| File::new(&unit.path, &unit.text)).collect();
    let mut documents: Vec<_> = files.iter().map(read::parse).collect();
    for path in unread {
        files.push(File::new(path, ""));
        documents.push(None);
    }
    let pairs = files.iter().zip(&documents);
    let heads: Vec<Head<'_>> =
        pairs.map(|(file, document)| Head::read(file, document, &site)).collect();
    check_names(&heads);

    let (units, notes) = lower(&heads, &site);
    drop(heads);
    drop(documents);
    let faults: Vec<Diagnostic> =
        [node_file].into_iter().chain(files).flat_map(File::into_faults).collect();
    if faults.is_empty() { Ok(Plan { node: site.node, units, notes }) } else { Err(faults) }
}

/// Two files of one name, and more files than a node can have.
fn check_names(heads: &[Head<'_>]) {
    let mut seen: BTreeMap<&str, &Head<'_>> = BTreeMap::new();
    for head in heads {
        if let Some(first) = seen.insert(head.name, head) {
            let message = format!("a second unit `{}`", head.name);
            let help = format!("the first is {}; rename one", first.file.path.display());
            head.file.report_whole(message, Some(help));
        }
    }
    if let Some(head) = heads.get(MAX_UNITS) {
        let help = format!("a node has at most {MAX_UNITS}");
        head.file.report_whole(format!("{} units are too many", heads.len()), Some(help));
    }
}

/// All units of this node, and what `check` has to say about those it left out.
fn lower(heads: &[Head<'_>], site: &node::Site) -> (Vec<plan::Unit>, Vec<String>) {
    let all: BTreeSet<&str> = heads.iter().map(|head| head.name).collect();
    let ids = graph::number(heads);
    let mut notes = Vec::new();
    let mut edges = BTreeMap::new();
    for head in heads {
        let own = graph::edges(head, &all, &ids, site, &mut notes);
        if let Some(id) = ids.get(head.name).filter(|_| head.is_present) {
            edges.insert(*id, own);
        }
    }
    graph::mirror_conflicts(&mut edges);
    let by_name: BTreeMap<&str, &Head<'_>> =
        heads.iter().filter(|head| head.is_present).map(|head| (head.name, head)).collect();
    let present: Vec<&Head<'_>> = by_name.into_values().collect();
    graph::report_cycles(&present, &edges);
    graph::report_conflicts(&present, &edges);

    let peers: Peers<'_> = heads.iter().map(|head| (head.name, peer(head, &ids))).collect();
    let mut units = Vec::new();
    for head in heads {
        let id = ids.get(head.name).filter(|_| head.is_present);
        let own = id.and_then(|id| edges.get(id).cloned()).unwrap_or_default();
        units.extend(lower::unit(head, own, site, &peers).filter(|_| head.is_present));
    }
    units.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    clash::report(&units, heads);
    (units, notes)
}

fn peer<'a>(head: &Head<'a>, ids: &graph::Ids<'_>) -> Peer<'a> {
    let promised = head.exports.as_ref();
    Peer {
        id: ids.get(head.name).copied(),
        file: head.file.path.display().to_string(),
        exports: promised.map(|words| words.iter().map(|word| word.text).collect()),
        is_known: head.document.is_some(),
    }
}
