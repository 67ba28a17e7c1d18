//! Who names whom: names become numbers, and what can never work is told.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::machine::UnitId;

use super::diag::suggest;
use super::head::Head;
use super::node::Site;
use super::read::Word;

/// The edges of one unit. No unit stands in more than one of the first four.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edges {
    pub(super) requires: Vec<UnitId>,
    pub(super) binds: Vec<UnitId>,
    pub(super) wants: Vec<UnitId>,
    pub(super) after: Vec<UnitId>,
    pub(super) conflicts: Vec<UnitId>,
}

/// The numbers of the units that are there, by name.
pub(super) type Ids<'a> = BTreeMap<&'a str, UnitId>;

/// Numbers the units of this node in the order of their names.
pub(super) fn number<'a>(heads: &[Head<'a>]) -> Ids<'a> {
    let names: BTreeSet<&str> =
        heads.iter().filter(|head| head.is_present).map(|head| head.name).collect();
    names.into_iter().zip(0..=u16::MAX).map(|(name, id)| (name, UnitId(id))).collect()
}

/// Resolves and checks all names of a unit; dependencies on units of another role become notes.
pub(super) fn edges(
    head: &Head<'_>,
    all: &BTreeSet<&str>,
    ids: &Ids<'_>,
    site: &Site,
    notes: &mut Vec<String>,
) -> Edges {
    let mut taken = BTreeSet::new();
    let mut resolve = |verb: &str, words: &[Word<'_>], is_noted: bool| {
        let mut found = Vec::new();
        for word in words {
            if word.text == head.name {
                let help = "leave it out";
                word.fault(format!("`{}` {verb} itself", head.name), help);
            } else if !all.contains(word.text) {
                let near = suggest(word.text, all.iter().copied());
                let help = near.unwrap_or_else(|| format!("there is no units/{}.toml", word.text));
                word.fault(format!("unknown unit `{}`", word.text), help);
            } else if let Some(id) = ids.get(word.text) {
                found.push(*id);
            } else if is_noted && head.is_present {
                let role = site.role_name();
                let (name, other) = (head.name, word.text);
                notes.push(format!("{name} {verb} {other}, which a {role} has not: left out"));
            }
        }
        found
    };
    // The strongest word wins: what is required need not also be wanted.
    let mut once = |ids: Vec<UnitId>| -> Vec<UnitId> {
        ids.into_iter().filter(|id| taken.insert(*id)).collect()
    };
    let binds = once(resolve("binds to", &head.binds, true));
    let requires = once(resolve("requires", &head.requires, true));
    let wants = once(resolve("wants", &head.wants, true));
    let after = once(resolve("comes after", &head.after, false));
    let conflicts = resolve("conflicts with", &head.conflicts, false);
    for (word, id) in head.conflicts.iter().filter_map(|word| Some((word, ids.get(word.text)?))) {
        if [&binds, &requires, &wants].into_iter().flatten().any(|need| need == id) {
            let message =
                format!("`{}` both needs `{}` and conflicts with it", head.name, word.text);
            word.fault(message, "leave one of the two out");
        }
    }
    Edges { requires, binds, wants, after, conflicts }
}

/// Every conflict holds in both directions.
pub(super) fn mirror_conflicts(edges: &mut BTreeMap<UnitId, Edges>) {
    let pairs: Vec<(UnitId, UnitId)> = edges
        .iter()
        .flat_map(|(id, own)| own.conflicts.iter().map(|other| (*id, *other)))
        .collect();
    for (a, b) in pairs {
        for (from, to) in [(a, b), (b, a)] {
            let known = edges.get_mut(&from).map(|own| &mut own.conflicts);
            if let Some(known) = known.filter(|known| !known.contains(&to)) {
                known.push(to);
            }
        }
    }
    for own in edges.values_mut() {
        own.conflicts.sort_unstable();
        own.conflicts.dedup();
    }
}

/// Reports every ring of units that wait for each other.
pub(super) fn report_cycles(heads: &[&Head<'_>], edges: &BTreeMap<UnitId, Edges>) {
    let mut told: BTreeSet<UnitId> = BTreeSet::new();
    for start in edges.keys().copied() {
        if told.contains(&start) {
            continue;
        }
        let Some(path) = shortest_ring(start, edges) else {
            continue;
        };
        let name = |id: &UnitId| heads.get(id.index()).map_or("", |head| head.name);
        let names: Vec<&str> = path.iter().chain([&start]).map(name).collect();
        let next = names.get(1).copied().unwrap_or_default();
        let Some(head) = heads.get(start.index()) else {
            continue;
        };
        let words = [&head.requires, &head.binds, &head.wants, &head.after];
        if let Some(word) = words.into_iter().flatten().find(|word| word.text == next) {
            let help = "leave one of these dependencies out";
            word.fault(format!("units wait for each other: {}", names.join(" -> ")), help);
        }
        told.extend(path);
    }
}

/// The shortest way from a unit back to it, without its return.
fn shortest_ring(start: UnitId, edges: &BTreeMap<UnitId, Edges>) -> Option<Vec<UnitId>> {
    let mut came_from: BTreeMap<UnitId, UnitId> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(unit) = queue.pop_front() {
        for next in edges.get(&unit).into_iter().flat_map(waits_for) {
            if next == start {
                let back = std::iter::successors(Some(unit), |at| came_from.get(at).copied());
                let mut path: Vec<UnitId> = back.collect();
                path.reverse();
                return Some(path);
            }
            if let Entry::Vacant(entry) = came_from.entry(next) {
                entry.insert(unit);
                queue.push_back(next);
            }
        }
    }
    None
}

fn waits_for(edges: &Edges) -> impl Iterator<Item = UnitId> + '_ {
    [&edges.requires, &edges.binds, &edges.wants, &edges.after].into_iter().flatten().copied()
}

/// Reports conflicts between units that are all started at boot.
pub(super) fn report_conflicts(heads: &[&Head<'_>], edges: &BTreeMap<UnitId, Edges>) {
    let name = |id: UnitId| heads.get(id.index()).map_or("", |head| head.name);
    let pulled = pulled_at_boot(heads, edges);
    for (unit, own) in edges {
        for other in own.conflicts.iter().filter(|other| *other > unit) {
            let (Some(first), Some(second)) = (pulled.get(unit), pulled.get(other)) else {
                continue;
            };
            let why = |id: UnitId, by: UnitId| match id == by {
                true => format!("`{}` is enabled", name(id)),
                false => format!("`{}` is needed by `{}`", name(id), name(by)),
            };
            let message = format!(
                "`{}` and `{}` conflict, and both start at boot",
                name(*unit),
                name(*other)
            );
            let help = format!(
                "{}, {}: say enabled = false in one of them",
                why(*unit, *first),
                why(*other, *second)
            );
            let said = [(unit, other), (other, unit)].into_iter().find_map(|(from, to)| {
                let head = heads.get(from.index())?;
                head.conflicts.iter().find(|word| word.text == name(*to))
            });
            if let Some(word) = said {
                word.fault(message, help);
            }
        }
    }
}

/// What starts at boot, and the enabled unit that is the reason.
fn pulled_at_boot(
    heads: &[&Head<'_>],
    edges: &BTreeMap<UnitId, Edges>,
) -> BTreeMap<UnitId, UnitId> {
    let is_enabled = |id: &UnitId| heads.get(id.index()).is_some_and(|head| head.is_enabled);
    let roots = edges.keys().copied().filter(|id| is_enabled(id));
    let mut pulled: BTreeMap<UnitId, UnitId> = roots.map(|id| (id, id)).collect();
    let mut queue: Vec<(UnitId, UnitId)> = pulled.iter().map(|(id, by)| (*id, *by)).collect();
    while let Some((unit, root)) = queue.pop() {
        let own = edges.get(&unit).into_iter();
        for need in own.flat_map(|own| [&own.requires, &own.binds, &own.wants]).flatten() {
            if let Entry::Vacant(entry) = pulled.entry(*need) {
                entry.insert(root);
                queue.push((*need, root));
            }
        }
    }
    pulled
}
