//! The model.
#![allow(missing_docs, reason = "draft")]
#[path = "model/classes.rs"]
mod classes;
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

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use classes::Class;
use walk::Counts;

#[test]
fn every_day() {
    walk_all(&classes::short());
}

#[test]
#[ignore = "takes minutes; `make model` runs it, optimised"]
fn every_state_of_every_small_graph() {
    walk_all(&classes::full());
}

/// Walks through all graphs, on all processors, and prints what was seen.
fn walk_all(classes: &[Class]) {
    let total = classes.iter().fold(Counts::default(), |mut total, class| {
        let start = Instant::now();
        let counts = walk_class(class);
        say(class.name, counts, start);
        total += counts;
        total
    });
    say("in total", total, Instant::now());
}

fn walk_class(class: &Class) -> Counts {
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let next = Mutex::new(class.graphs.iter());
    let total = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        let work = || {
            while let Some(graph) = next.lock().ok().and_then(|mut graphs| graphs.next()) {
                match walk::walk(graph, class.most) {
                    Ok(counts) => *total.lock().expect("nobody panicked") += counts,
                    Err(story) => panic!("{story}"),
                }
            }
        };
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    total.into_inner().expect("nobody panicked")
}

fn say(name: &str, counts: Counts, start: Instant) {
    let Counts { graphs, states, edges, echoes } = counts;
    // Straight to the terminal: what was walked is worth knowing when all went well, too.
    let _ = writeln!(
        std::io::stdout(),
        "model: {name:24} {graphs:4} graphs {states:9} states {edges:10} edges \
         {echoes:10} echoes {:6.1} s",
        start.elapsed().as_secs_f64()
    );
}
