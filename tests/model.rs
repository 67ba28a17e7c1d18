//! The model.
#![allow(missing_docs, reason = "draft")]
#[path = "model/graph.rs"]
mod graph;
#[path = "model/live.rs"]
mod live;
#[path = "model/moves.rs"]
mod moves;
#[path = "model/outcome.rs"]
mod outcome;
#[path = "model/safety.rs"]
mod safety;
#[path = "model/walk.rs"]
mod walk;
#[path = "model/world.rs"]
mod world;

use graph::{Graph, PLAIN, EDGES, Traits};
use pisup::machine::spec::{Kind, Policy};

#[test]
fn draft() {
    let get = |k: &str| std::env::var(k).unwrap_or_default();
    let t = Traits { steps: get("STEPS").parse().unwrap_or(0), gate: get("GATE") == "1", condition: get("COND") == "1", sweeps: get("SWEEPS") == "1", watchdog: get("DOG") == "1", patient: get("PATIENT") == "1", ..PLAIN };
    let n: usize = get("N").parse().unwrap_or(1);
    let mut total = walk::Counts::default();
    for policy in Policy::ALL { for kind in [Kind::Service, Kind::Oneshot] {
        if n > 1 && (kind == Kind::Oneshot || policy != Policy::Always) && get("ALL") != "1" { continue }
        let t = Traits { kind, policy, ..t };
        let lists: Vec<Vec<graph::Edge>> = match n {
            1 => vec![vec![]],
            2 => EDGES.iter().map(|e| vec![*e]).collect(),
            _ => EDGES.iter().skip(1).map(|e| vec![*e, graph::Edge::None, *e]).collect(),
        };
        for edges in lists {
            let g = Graph { units: vec![t; n], edges, conflicts: vec![] };
            let start = std::time::Instant::now();
            match walk::walk(&g, 3_000_000) {
                Ok(c) => { println!("{} {c:?} {:?}", g.name(), start.elapsed()); total += c; }
                Err(why) => panic!("{why}"),
            }
        }
    }}
    println!("{total:?}");
}
