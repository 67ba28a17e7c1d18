//! Classes of graphs: what is walked in full, and what every day.

use pisup::machine::spec::{Kind, Policy};

use crate::graph::{EDGES, Edge, Graph, PLAIN, Traits};

/// Graphs that are counted together.
pub struct Class {
    pub name: &'static str,
    pub graphs: Vec<Graph>,
    /// More states than any of them has; one that has more fails the test.
    pub most: usize,
}

const KINDS: [Kind; 2] = [Kind::Service, Kind::Oneshot];

/// Each trait alone, and all together.
const TRAITS: [Traits; 8] = [
    PLAIN,
    Traits { steps: 1, ..PLAIN },
    Traits { gate: true, ..PLAIN },
    Traits { condition: true, ..PLAIN },
    Traits { sweeps: true, ..PLAIN },
    Traits { watchdog: true, ..PLAIN },
    Traits { patient: true, ..PLAIN },
    Traits { steps: 1, gate: true, condition: true, sweeps: true, watchdog: true, ..PLAIN },
];

/// Minutes.
pub fn full() -> Vec<Class> {
    let one = kinds_and_policies().flat_map(products).map(one_unit).collect();
    let exact = EDGES.into_iter().flat_map(exact_pairs).collect();
    let mut mixed = Vec::new();
    for edge in EDGES {
        for first in TRAITS {
            mixed.extend(TRAITS.map(|second| mixed_graph(&[first, second], &[edge])));
        }
    }
    vec![
        class("one unit", one),
        class("two units", exact),
        class("two units, mixed", mixed),
        class("rivals", rivals(&[Edge::None, Edge::Requires, Edge::Binds, Edge::Wants])),
        class("three units", three()),
        class("three units, a value", three_with_a_value()),
        class("three units with traits", rotation()),
    ]
}

/// Seconds.
pub fn short() -> Vec<Class> {
    let one = kinds_and_policies().flat_map(|(kind, policy)| {
        TRAITS.map(|traits| one_unit(Traits { kind, policy, ..traits }))
    });
    let mut two: Vec<Graph> =
        EDGES.iter().map(|edge| mixed_graph(&[PLAIN, PLAIN], &[*edge])).collect();
    for (number, edge) in EDGES.into_iter().enumerate() {
        let at = |index: usize| TRAITS[1 + index % 6];
        two.push(plain_graph(&[at(number), at(number + 5)], &[edge]));
    }
    let mut few = rivals(&[Edge::Wants]);
    few.truncate(2);
    let chain = [Edge::Binds, Edge::None, Edge::Binds];
    let triangle = [Edge::Binds, Edge::After, Edge::Binds];
    let three = [chain, triangle].map(|edges| plain_graph(&[PLAIN; 3], &edges)).to_vec();
    vec![
        class("one unit", one.collect()),
        class("two units, mixed", two),
        class("rivals", few),
        class("three units", three),
    ]
}

fn class(name: &'static str, graphs: Vec<Graph>) -> Class {
    Class { name, graphs, most: 2_000_000 }
}

fn kinds_and_policies() -> impl Iterator<Item = (Kind, Policy)> {
    KINDS.into_iter().flat_map(|kind| Policy::ALL.map(|policy| (kind, policy)))
}

/// Every product of traits.
fn products((kind, policy): (Kind, Policy)) -> Vec<Traits> {
    let with = |bits: u8, steps: u8| Traits {
        kind,
        policy,
        steps,
        gate: bits & 1 != 0,
        condition: bits & 2 != 0,
        sweeps: bits & 4 != 0,
        watchdog: bits & 8 != 0,
        patient: bits & 16 != 0,
    };
    (0..32).flat_map(|bits| (0..3).map(move |steps| with(bits, steps))).collect()
}

fn one_unit(traits: Traits) -> Graph {
    plain_graph(&[traits], &[])
}

fn exact_pairs(edge: Edge) -> Vec<Graph> {
    let mut graphs = Vec::new();
    for first in kinds_and_policies() {
        for second in kinds_and_policies() {
            let units = [first, second].map(|(kind, policy)| Traits { kind, policy, ..PLAIN });
            graphs.push(plain_graph(&units, &[edge]));
        }
    }
    graphs
}

fn plain_graph(units: &[Traits], edges: &[Edge]) -> Graph {
    Graph { units: units.to_vec(), edges: edges.to_vec(), conflicts: vec![], is_mixed: false }
}

fn mixed_graph(units: &[Traits], edges: &[Edge]) -> Graph {
    Graph { is_mixed: true, ..plain_graph(units, edges) }
}

/// Two units that conflict, alone and with a third one that may need or want either.
fn rivals(edges: &[Edge]) -> Vec<Graph> {
    let conflicts = vec![(0, 1)];
    let two = mixed_graph(&[PLAIN; 2], &[Edge::None]);
    let mut graphs = vec![Graph { conflicts: conflicts.clone(), ..two }];
    for first in edges {
        for second in edges {
            let three = plain_graph(&[PLAIN; 3], &[Edge::None, *first, *second]);
            graphs.push(Graph { conflicts: conflicts.clone(), ..three });
        }
    }
    graphs
}

/// Every connected graph of three units: units that no edge joins do not meet, and with one edge
/// only two of them do. Of graphs that differ in the names of two units alone there is one.
fn all_of_three(edges: &[Edge]) -> Vec<[Edge; 3]> {
    let mut all = Vec::new();
    for (first, one) in edges.iter().enumerate() {
        for (second, two) in edges.iter().enumerate() {
            for (third, three) in edges.iter().enumerate() {
                let graph = [*one, *two, *three];
                let count = graph.iter().filter(|edge| **edge != Edge::None).count();
                let is_twin =
                    *three == Edge::None && first > second || *one == Edge::None && second > third;
                if count >= 2 && !is_twin {
                    all.push(graph);
                }
            }
        }
    }
    all
}

/// Mixed, but where one comes `after` another: to the machine that is a want that pulls in nothing,
/// and the graphs with wants in their place are mixed.
fn three() -> Vec<Graph> {
    let edges = [Edge::None, Edge::Requires, Edge::Binds, Edge::Wants, Edge::After];
    let graph = |edges: [Edge; 3]| Graph {
        is_mixed: !edges.contains(&Edge::After),
        ..plain_graph(&[PLAIN; 3], &edges)
    };
    all_of_three(&edges).into_iter().map(graph).collect()
}

/// One value, anywhere among needs.
fn three_with_a_value() -> Vec<Graph> {
    let edges = [Edge::None, Edge::Requires, Edge::Binds, Edge::RequiresValue, Edge::BindsValue];
    let mut all = all_of_three(&edges);
    all.retain(|graph| {
        graph.iter().filter(|e| matches!(e, Edge::RequiresValue | Edge::BindsValue)).count() == 1
    });
    all.iter().map(|edges| plain_graph(&[PLAIN; 3], edges)).collect()
}

/// Graphs of three units whose traits take turns.
fn rotation() -> Vec<Graph> {
    let all = all_of_three(&[Edge::None, Edge::Requires, Edge::Binds]);
    let turn = |(number, edges): (usize, [Edge; 3])| {
        let at = |place: usize| TRAITS[1 + (number + 2 * place) % 6];
        plain_graph(&[at(0), at(1), at(2)], &edges)
    };
    all.into_iter().enumerate().map(turn).collect()
}
