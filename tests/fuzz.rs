//! The inputs that `make fuzz` has collected, run without it: what held of them holds.
//!
//! `tests/fuzz/targets.rs` has what that is. Here, too, is what no fuzzer finds in a minute: that
//! ten times the bytes take about ten times as long, and not a hundred times.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test without its files has to fail"
)]

#[path = "fuzz/corpus.rs"]
mod corpus;
#[path = "fuzz/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use targets::TARGETS;

/// All that is collected may have so many bytes: a repository is no place for a corpus that grows.
const CORPUS_BYTES: u64 = 300_000;

/// One input, without optimisation and on a slow processor.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is repeated gets as long as this: half of the longest thing that is read whole.
const LONG: usize = 128 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

#[test]
fn what_held_of_every_collected_input_holds() {
    for (name, target) in TARGETS {
        let inputs = corpus::read(&folder(), name).unwrap();
        assert!(inputs.len() > 3, "{name}: {} inputs", inputs.len());
        for input in &inputs {
            run(name, *target, input);
        }
    }
}

/// Cut off anywhere is what a power cut, a full disk and a slow peer leave.
#[test]
fn it_holds_of_every_beginning_of_the_inputs_written_by_hand() {
    for (name, target) in TARGETS {
        for input in corpus::read(&folder(), name).unwrap().iter().take(8) {
            let step = input.len() / 64 + 1;
            for end in (0..input.len()).step_by(step) {
                run(name, *target, input.get(..end).unwrap());
            }
        }
    }
}

#[test]
fn no_input_takes_more_than_its_length_in_time() {
    for (name, target) in TARGETS {
        for input in corpus::read(&folder(), name).unwrap().iter().take(3) {
            if !input.is_empty() {
                run(name, *target, &input.repeat(LONG / input.len()));
            }
        }
    }
}

/// The time that this thread had a processor: how busy others are does not matter.
fn busy() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).unwrap()
}

/// What was found, each under its name.
fn regression(name: &str, input: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    run(name, *target, input);
}

#[test]
fn a_message_of_netlink_that_is_malformed_is_the_last_one() {
    let mut twice = Vec::new();
    for kind in [16, 2] {
        twice.extend([20, 0, 0, 0, kind, 0, 2, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 128]);
    }
    regression("netlink", &twice);
}

#[test]
fn a_reference_as_long_as_its_file_is_told_in_a_sentence() {
    regression("foreign-file", format!("${{node.{}}}", "x".repeat(100_000)).as_bytes());
}

#[test]
fn a_file_of_wrong_references_alone_is_told_as_fast_as_it_is_read() {
    regression("foreign-file", "${node.x}\n".repeat(LONG / 10).as_bytes());
    regression("foreign-file", "${node.x}".repeat(LONG / 10).as_bytes());
}

fn run(name: &str, target: fn(&[u8]), input: &[u8]) {
    let start = busy();
    let is_bad = std::panic::catch_unwind(|| target(input)).is_err();
    let shown: String = corpus::escape(input).chars().take(2000).collect();
    assert!(!is_bad, "{name}: does not hold of b\"{shown}\"");
    let took = busy() - start;
    assert!(took < PATIENCE, "{name}: {took:?} for {} bytes: b\"{shown}\"", input.len());
}

#[test]
fn the_corpus_is_small_and_there_is_no_file_of_no_target() {
    let mut names: BTreeSet<String> =
        TARGETS.iter().map(|(name, _)| format!("{name}.txt")).collect();
    assert_eq!(names.len(), TARGETS.len(), "two targets of one name");
    let mut bytes = 0;
    for entry in fs::read_dir(folder().join("corpus")).unwrap() {
        let entry = entry.unwrap();
        bytes += entry.metadata().unwrap().len();
        let name = entry.file_name().into_string().unwrap();
        assert!(names.remove(&name), "{name} is no target's");
    }
    assert!(names.is_empty(), "without a corpus: {names:?}");
    assert!(bytes <= CORPUS_BYTES, "{bytes} bytes; {CORPUS_BYTES} are enough");
}

#[test]
fn a_line_of_the_corpus_is_any_bytes() {
    let every: Vec<u8> = (0..=255).collect();
    for bytes in [&every[..], b"# no comment", b"\\x4", b"", b"\\\"'\r\n\t"] {
        assert_eq!(corpus::unescape(&corpus::escape(bytes)), bytes);
        assert!(!corpus::escape(bytes).starts_with('#'));
    }
}
