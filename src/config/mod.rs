//! Text to plan: the only home of TOML.

pub mod plan;
