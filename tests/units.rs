//! The units that ship: every file is read for both roles, and what is executed in the end stands
//! in `tests/units/PROFILE-ROLE.txt`, for a node with fixed values. `BLESS=1` writes it anew.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test without its files has to fail"
)]

#[path = "units/facts.rs"]
mod facts;
#[path = "units/golden.rs"]
mod golden;
#[path = "units/node.rs"]
mod node;
#[path = "units/render.rs"]
mod render;
#[path = "units/seed.rs"]
mod seed;
