//! One history, and many of them.

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::catch_unwind;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use crate::shell::{self, Options};
use crate::world::kind::Kind;
use crate::world::{self, Counts, Stop, World};

/// Lives of a supervisor that end in a row while the system refuses nothing: more would be one that
/// cannot begin.
const LIVES_MAX: u32 = 60;

/// Counted otherwise than the rest.
const SHORTEST: &str = "events of the shortest history";

/// Plays one history; what went wrong, if anything did.
fn play(seed: u64, kind: Kind, tells: bool) -> (Counts, Result<(), String>) {
    world::begin(World::new(seed, kind, tells));
    let options = Options {
        config: "/etc/pisup".into(),
        run: "/run/pisup".into(),
        state: "/var/pisup".into(),
    };
    let result = loop {
        world::with(World::begin_life);
        let end = catch_unwind(|| shell::supervise(&options));
        let stop = end.as_ref().err().and_then(|why| why.downcast_ref::<Stop>());
        if stop == Some(&Stop::Replaced) && world::with(World::begin_other_program) {
            continue;
        }
        let wrong = world::with(|world| {
            world.end_life();
            world.barren = if world.fault_rate.is_none() { world.barren + 1 } else { 0 };
            if world.barren > LIVES_MAX {
                world.fail("the supervisor cannot begin".to_owned());
            }
            world.wrong.clone()
        });
        let pause = match (end, wrong) {
            (_, Some(wrong)) => break Err(wrong),
            (Ok(0), _) => {
                let end = world::with(|world| world.after_the_end());
                if end.is_err() || world::with(|world| world.is_calm()) {
                    break end;
                }
                // Somebody starts it again.
                world::with(World::end_well);
                1_000
            }
            (Ok(_), _) => {
                // Nobody begins with a broken configuration: somebody has to see to it.
                world::with(|world| world.graph.is_broken = false);
                1_000
            }
            (Err(why), _) => match why.downcast::<Stop>() {
                Ok(_) => world::with(|world| world.rng.below(3_000)),
                Err(why) => break Err(panic_text(&why)),
            },
        };
        if !world::with(World::await_guard) {
            world::with(|world| world.pass(pause));
        }
    };
    (world::with(|world| world.counts.clone()), result)
}

fn panic_text(why: &Box<dyn core::any::Any + Send>) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| why.downcast_ref::<&str>().copied());
    format!("a panic: {}", text.unwrap_or("?"))
}

/// Seeds that have found faults of the shell, each by the fault that it found first; every run
/// plays them again. A change of the world makes other histories of them.
const FOUND: [u64; 17] = [
    1019, // one whose start time could not be read was started twice
    866,  // what a unit that was taken out held was held on
    212, 964, // reload-config waited for a start that was over
    1179, 299, // a shutdown whose supervisor was killed at its end never ended
    405, 692, // a notify socket that pisup-init held was in use for ever
    380, 969, // a supervisor without descriptors did without pisup-init
    205, 1182, // without pidfds all that ran was taken for dead
    961, 2374, // what could not be looked at was started twice
    711,  // a child got the number of a dead one
    2638, // one that had handed over was taken for never executed
    5283, // a route that came before it was listened for was not seen
];

/// The word for a kind of histories.
const PLAIN: &str = "plain";

/// Arguments: a first seed and how many; `tell SEED` shows one. With `plain` before them, histories
/// have neither upgrades nor containers; those of `FOUND` never have.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_plain = words.first() == Some(&PLAIN);
    if is_plain {
        words.remove(0);
    }
    let kind_of = |seed| if is_plain { Kind::PLAIN } else { Kind::of(seed) };
    std::panic::set_hook(Box::new(|info| {
        let _ = writeln!(std::io::stderr(), "{info}");
    }));
    match words.as_slice() {
        ["tell", seed] => {
            let seed = seed.parse().unwrap_or_default();
            tell(seed, kind_of(seed))
        }
        ["part", first, count, step] => part(
            first.parse().unwrap_or_default(),
            count.parse().unwrap_or_default(),
            step.parse().unwrap_or(1),
            kind_of,
        ),
        [first, count] => {
            all(first.parse().unwrap_or(1), count.parse().unwrap_or_default(), is_plain)
        }
        _ => all(1, 300, is_plain),
    }
}

fn tell(seed: u64, kind: Kind) -> ExitCode {
    let (counts, result) = play(seed, kind, true);
    let mut out = std::io::stdout().lock();
    world::with(|world| {
        for unit in &world.graph.units {
            let _ = writeln!(out, "--- {}\n{}", unit.name, unit.text());
        }
        for line in world.tale.iter().flatten() {
            let _ = writeln!(out, "{line}");
        }
    });
    let _ = writeln!(out, "{counts:?}\nseed {seed}: {result:?}");
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every so many-th seed, as a process of its own: counts on standard output, a line each.
fn part(first: u64, count: u64, step: u64, kind_of: impl Fn(u64) -> Kind) -> ExitCode {
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    let (mut failures, mut shortest) = (0, u64::MAX);
    for number in 0..count {
        let seed = first + number * step;
        let (counts, result) = play(seed, kind_of(seed), false);
        let mut add = |what: &str, count: u64| *sum.entry(what.to_owned()).or_default() += count;
        add("histories", 1);
        add("events", counts.events);
        add("turns", counts.turns);
        add("calls", counts.calls);
        counts.faults.iter().for_each(|(what, count)| add(&format!("fault {what}"), *count));
        counts.things.iter().for_each(|(what, count)| add(what, *count));
        shortest = shortest.min(counts.events);
        if let Err(why) = result {
            add("failures", 1);
            failures += 1;
            let _ = writeln!(std::io::stderr(), "seed {seed}: {why}");
            if failures >= 10 {
                break;
            }
        }
    }
    sum.insert(SHORTEST.to_owned(), shortest);
    let mut out = std::io::stdout().lock();
    for (what, count) in sum {
        let _ = writeln!(out, "{what}\t{count}");
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Many histories, on all processors.
fn all(first: u64, count: u64, is_plain: bool) -> ExitCode {
    let start = Instant::now();
    for seed in FOUND {
        if let (_, Err(why)) = play(seed, Kind::PLAIN, false) {
            let _ = writeln!(std::io::stderr(), "seed {seed}: {why}");
            return ExitCode::FAILURE;
        }
    }
    let parts = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let own = std::env::current_exe().unwrap_or_default();
    let begin = |part: u64| -> Option<Child> {
        let share = count / parts + u64::from(part < count % parts);
        let words = [first + part, share, parts].map(|number| number.to_string());
        let kind = is_plain.then_some(PLAIN);
        Command::new(&own).args(kind).arg("part").args(words).stdout(Stdio::piped()).spawn().ok()
    };
    let children: Vec<Option<Child>> = (0..parts).map(begin).collect();
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    let mut is_good = true;
    for child in children {
        let output = child.and_then(|child| child.wait_with_output().ok());
        is_good &= output.as_ref().is_some_and(|output| output.status.success());
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for line in text.unwrap_or_default().lines() {
            if let Some((what, number)) = line.split_once('\t') {
                let number: u64 = number.parse().unwrap_or_default();
                let before = sum.get(what).copied();
                let both = match before {
                    Some(before) if what == SHORTEST => before.min(number),
                    before => before.unwrap_or_default() + number,
                };
                sum.insert(what.to_owned(), both);
            }
        }
    }
    let mut out = std::io::stdout().lock();
    for (what, count) in &sum {
        let _ = writeln!(out, "{count:>12} {what}");
    }
    let total = |what: &str| sum.get(what).copied().unwrap_or_default();
    let (done, seconds) = (total("histories"), start.elapsed().as_secs_f64());
    let (events, crashes, upgrades) = (total("events"), total("crash"), total("exec in place"));
    let _ = writeln!(
        out,
        "{done} histories of {events} events, with {crashes} crashes and {upgrades} upgrades, \
         in {seconds:.1} s: {:.0} a second",
        done as f64 / seconds
    );
    if is_good && done == count { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
