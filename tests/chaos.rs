//! Chaos on real processes: thirty units below pisup-init, and everything dies all the time.
//!
//! A machine of namespaces in which pisup-init is the first process. Round after round, chosen by
//! a seed, the supervisor is killed at a random instant, units are killed, started, stopped,
//! changed, two things at once. Then all has to come to rest where it should be: the same
//! processes as before but for those that had a reason to move, none twice, none left, no line of
//! output missing, as many descriptors as ever.
//!
//! `cargo test --test chaos` is a short run; `make chaos ROUNDS=1000 SEED=7` is a long one. This
//! program is also the service of the units, and in the namespaces it is who does all that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![allow(clippy::indexing_slicing, reason = "a test that looks beyond an end fails")]

#[path = "chaos/check.rs"]
mod check;
#[path = "real_process/double.rs"]
mod double;
#[path = "chaos/inside.rs"]
mod inside;
#[path = "init/machine.rs"]
#[allow(dead_code, reason = "its other half is for the tests of pisup-init")]
mod machine;
#[path = "chaos/model.rs"]
mod model;
#[path = "chaos/random.rs"]
mod random;
#[path = "chaos/rounds.rs"]
mod rounds;
#[path = "chaos/service.rs"]
mod service;
#[path = "chaos/units.rs"]
mod units;
#[path = "chaos/wire.rs"]
mod wire;
#[path = "chaos/world.rs"]
mod world;

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use machine::{Machine, Place, can_unshare};

/// Rounds of a seed that nobody asked for.
const FEW: u64 = 40;

/// A seed for `make test`, the same each time; there it is followed by one that is not.
const OWN_SEED: u64 = 7;

/// One run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What decides everything.
    pub seed: u64,
    /// How many.
    pub rounds: u64,
    /// Nothing else is done; empty for everything.
    pub only: Vec<String>,
}

/// Says something; nobody may be listening any more.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("service") => service::run(&words[1..]),
        // What a service forks is the double itself.
        Some("double") => double::run(&words[1..]),
        Some("inside") => inside::run(&options(&words[2..]).remove(0), Path::new(&words[1])),
        _ => outside(&words),
    }
}

/// What is asked for by `--seed=N --rounds=N --only=WORD,WORD`; words of `cargo test` count for
/// nothing.
fn options(words: &[String]) -> Vec<Options> {
    let value = |name: &str| {
        let find = |word: &String| Some(word.strip_prefix(name)?.to_owned());
        words.iter().find_map(find).filter(|value| !value.is_empty())
    };
    let number = |name: &str| value(name).map(|value| value.parse().unwrap());
    let rounds = number("--rounds=");
    let only: Vec<String> = value("--only=")
        .map(|words| words.split(',').map(str::to_owned).collect())
        .unwrap_or_default();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let any = u64::from(since.subsec_nanos());
    let seeds = match (number("--seed="), rounds) {
        (Some(seed), _) => vec![seed],
        (None, Some(_)) => vec![any],
        (None, None) => vec![OWN_SEED, any],
    };
    let one = |seed| Options { seed, rounds: rounds.unwrap_or(FEW), only: only.clone() };
    seeds.into_iter().map(one).collect()
}

fn outside(words: &[String]) -> ExitCode {
    if words.iter().any(|word| word == "--list") {
        tell("chaos: test");
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() || !can_unshare() {
        tell("skipped: chaos: needs root, for namespaces");
        return ExitCode::SUCCESS;
    }
    let all = options(words);
    let is_good = all.iter().all(play);
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A machine of its own for each seed; all that is in it ends with it.
fn play(options: &Options) -> bool {
    let Options { seed, rounds, only } = options;
    tell(&format!("seed {seed}, {rounds} rounds"));
    let place = Place::new();
    let own = std::env::current_exe().unwrap();
    inside::furnish(&place.0, &own);
    // A supervisor that is killed is started again at once, however often.
    let machine = Machine::supervise(&place, &["--settled-after", "0"]);
    let status = Command::new("nsenter")
        .arg(format!("--target={}", machine.init))
        .args(["--mount", "--pid", "--net", "--uts", "--"])
        .arg(&own)
        .arg("inside")
        .arg(&place.0)
        .args([format!("--seed={seed}"), format!("--rounds={rounds}")])
        .arg(format!("--only={}", only.join(",")))
        .status();
    drop(machine);
    clean(&place);
    status.unwrap().success()
}

/// Removes the groups that nobody is left to remove.
fn clean(place: &Place) {
    let marker = place.0.file_name().unwrap().to_string_lossy().into_owned();
    let find = Command::new("find")
        .args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path"])
        .arg(format!("*{marker}*"))
        .output();
    let text = find.map(|output| output.stdout).unwrap_or_default();
    for path in String::from_utf8_lossy(&text).lines() {
        let _ = std::fs::remove_dir(path);
    }
}
