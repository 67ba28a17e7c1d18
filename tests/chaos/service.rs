//! The service of the units: the double of `real_process`, and what only a long run needs.
//!
//! `count MS` says a number every so often, each once; `litter MS` leaves an orphan that often.
//! Both go on beside the other deeds.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use crate::double;

/// Does it all.
pub fn run(deeds: &[String]) -> ExitCode {
    let mut others = Vec::new();
    for deed in deeds {
        let every = |text: &str| Duration::from_millis(text.parse().unwrap());
        match deed.split_once(' ') {
            Some(("count", ms)) => count(every(ms)),
            Some(("litter", ms)) => litter(every(ms)),
            _ => others.push(deed.clone()),
        }
    }
    double::run(&others)
}

/// Who counts is part of each line: a number is followed by the next one of the same process, or
/// by the first one of its successor.
fn count(every: Duration) {
    let own = std::process::id();
    thread::spawn(move || {
        let mut out = std::io::stdout();
        for number in 0..u64::MAX {
            let line = format!("{own} {number}\n");
            out.write_all(line.as_bytes()).unwrap();
            thread::sleep(every);
        }
    });
}

/// Each is left by a shell that ends at once.
fn litter(every: Duration) {
    thread::spawn(move || {
        loop {
            let shell =
                Command::new("sh").args(["-c", "sleep 0.02 &"]).stdin(Stdio::null()).status();
            shell.unwrap();
            thread::sleep(every);
        }
    });
}
