//! The walk: every state that the machine and its world can reach, of every small graph.
//!
//! # What is walked
//!
//! A state is a machine between two events and a world that knows, by itself, which processes
//! exist. From each state everything is tried that may happen next: every command on every unit,
//! shutdown, every end of a prepare step, births told in time or after the death, failed births,
//! gates, exits of all kinds, bad health, signs of life, extensions, values that come, change, come
//! back and go, conditions that hold and do not, leftovers swept, and every deadline in *any*
//! order: no clock decides which comes first, so each history in real time is among those walked.
//! Whatever may happen may also not happen, so late and lost events are among them too. What is
//! told late or again must have no consequence, and that is tried in every state (`echoes`).
//!
//! # Of which graphs
//!
//! `every_day` is part of `make check`; `make model` walks
//!
//! * one unit: every product of kind, policy, 0 to 2 prepare steps, gate, condition, sweeping,
//!   watchdog, with and without timeouts (576 graphs);
//! * two units: every edge (none, requires, binds, wants, after, and the first two with a value)
//!   times kind and policy of each (252); and, mixed, times each trait of each (448);
//! * three units, mixed: see `classes.rs`.
//!
//! *Mixed* means that kind and policy are not fixed for a unit: every event is told once under
//! each. The machine reads them only in an event, so the states of all products of kinds and
//! policies are among those walked, and more, as after a change of configuration.
//!
//! # What makes it finite
//!
//! Runs and values are renamed, since only whether they are the same matters. Deadlines have come
//! or have not. Failures in a row are counted up to 2 for one unit, and for more only for whether
//! there are any, and only where another unit prefers the one that failed. During a shutdown, and
//! where a unit is stopped, what can have no influence any more is forgotten. A state is known by a
//! hash of 128 bits. A graph with more states than its class allows fails the test.
//!
//! # What holds
//!
//! `world.rs` and `safety.rs` have what no step may do, `outcome.rs` what an end leads to,
//! `live.rs` where every state has to end when no more commands come: in a kind world, in a
//! stubborn one (only KILL helps) and in a mute one (nothing answers; a shutdown has to end all
//! the same).
//! `make faults` plants faults in the machine and shows that these rules catch them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a walk that fails has to fail the test"
)]

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
