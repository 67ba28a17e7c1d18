//! What is fuzzed: for every door through which bytes of others come, what holds of any bytes.
//!
//! A target panics when something does not hold. `make fuzz` looks for bytes that make it;
//! `tests/fuzz.rs` runs the collected ones in every `make check`, without any instrument.

#[path = "config.rs"]
mod config;
#[path = "control.rs"]
mod control;
#[path = "engine.rs"]
mod engine;
#[path = "kernel.rs"]
mod kernel;
#[path = "state.rs"]
mod state;

/// A name, and what has to hold of any bytes; `corpus/NAME.txt` is what was collected for it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("unit", config::unit),
    ("node", config::node),
    ("foreign-file", config::foreign_file),
    ("env-file", config::env_file),
    ("ctl-request", control::request),
    ("ctl-reply", control::reply),
    ("notify", control::notify),
    ("init-link", control::init_link),
    ("url", engine::url),
    ("http-reply", engine::http_reply),
    ("engine-json", engine::json),
    ("engine-output", engine::output),
    ("etcd-json", engine::etcd),
    ("container-args", engine::container_args),
    ("netlink", kernel::netlink),
    ("state-file", state::state),
];

/// The same bytes as they may come in: whole, one by one, and cut where the bytes themselves say.
pub fn cuts(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut seed = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut odd = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let size = usize::try_from(seed >> 59).unwrap_or(0) + 1;
        let (piece, after) = rest.split_at_checked(size).unwrap_or((rest, &[]));
        odd.push(piece);
        rest = after;
    }
    vec![vec![bytes], bytes.chunks(1).collect(), odd]
}

/// All of them lead to the same.
pub fn all_same<T: PartialEq + std::fmt::Debug>(bytes: &[u8], read: impl Fn(&[&[u8]]) -> T) -> T {
    let mut results = cuts(bytes).into_iter().map(|pieces| read(&pieces));
    let whole = results.next().expect("whole is the first way");
    for (cut, way) in results.zip(["byte by byte", "in pieces"]) {
        assert_eq!(cut, whole, "{way}, and whole");
    }
    whole
}

/// A text of ours that repeats words of others: so many letters at most, and none of them moves a
/// cursor.
pub fn assert_sentence(text: &str, most: usize) {
    let count = text.chars().count();
    assert!(count <= most, "{count} letters, over {most}: {text:.300}");
    let odd = text.chars().find(|letter| letter.is_control() && *letter != '\n');
    assert!(odd.is_none(), "{odd:?} in {text:?}");
}
