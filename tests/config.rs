//! Bad configurations and what is said about them, good ones and what they come to.
//!
//! Each folder in `tests/config/bad` is one mistake: `units/*.toml`, `node.toml` where the usual
//! one will not do, and `expected.txt`. `BLESS=1` writes what is said now.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test without its files has to fail"
)]

#[path = "config/bad.rs"]
mod bad;
#[path = "config/common.rs"]
mod common;
#[path = "config/difference.rs"]
mod difference;
#[path = "config/good.rs"]
mod good;
#[path = "config/values.rs"]
mod values;
