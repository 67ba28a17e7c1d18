//! What two units can not both have: a socket's address, a container's name.

use std::collections::BTreeMap;

use crate::machine::UnitId;

use super::head::Head;
use super::plan::{Job, Listen, Unit};
use super::template::known;

/// Reports everything that more than one unit of this node claims, at the later one.
pub(super) fn report(units: &[Unit], heads: &[Head<'_>]) {
    let mut owners: BTreeMap<Claim, usize> = BTreeMap::new();
    for (index, unit) in units.iter().enumerate() {
        for claim in claims(unit) {
            let owner = owners.insert(claim.clone(), index).and_then(|first| units.get(first));
            let Some(first) = owner.filter(|first| !claim.is_shared(first, unit, index)) else {
                continue;
            };
            let name = unit.spec.name.as_str();
            let as_who = match first.spec.name.as_str() {
                own if own == name => String::from(" twice"),
                other => format!(", as `{other}` does"),
            };
            let head = heads.iter().find(|head| head.is_present && head.name == name);
            if let Some(head) = head {
                let message = format!("`{name}` {}{as_who}", claim.sentence());
                let help = "name one of them otherwise";
                head.file.report_whole(message, Some(help.to_owned()));
            }
        }
    }
}

/// Something that only one can have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// A socket; the supervisor makes it at its start, whatever the unit does.
    Socket(String),
    /// A container, while the unit runs: its engine and its name.
    Container(String, String),
}

impl Claim {
    fn sentence(&self) -> String {
        match self {
            Self::Socket(address) => format!("listens on {address}"),
            Self::Container(engine, name) => {
                format!("owns the container {name} of the engine behind {engine}")
            }
        }
    }

    /// Whether both may claim it, because they never run at the same time.
    fn is_shared(&self, first: &Unit, second: &Unit, index: usize) -> bool {
        let id = u16::try_from(index).ok().map(UnitId);
        let is_socket = matches!(self, Self::Socket(_));
        !is_socket
            && first.spec.name != second.spec.name
            && id.is_some_and(|id| first.spec.conflicts.contains(&id))
    }
}

/// What a unit claims for itself; what is not known yet clashes with nothing.
fn claims(unit: &Unit) -> Vec<Claim> {
    let sockets = unit.sockets.iter().map(|socket| match &socket.listen {
        Listen::Unix(path) => Claim::Socket(path.display().to_string()),
        Listen::Tcp(address) => Claim::Socket(address.to_string()),
    });
    let container = match &unit.job {
        Job::Container(container) => known(&container.engine).zip(known(&container.name)),
        Job::Command(_) => None,
    };
    sockets.chain(container.map(|(engine, name)| Claim::Container(engine, name))).collect()
}
