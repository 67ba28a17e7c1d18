//! pisup: makes a Raspberry Pi a Kubernetes node and keeps it one.
//!
//! The dependency rule, held by `tests/tidy.rs`: `machine` imports nothing of ours; `config`,
//! `wire` and `sys` import types of `machine`; `helper` imports `wire` and `sys`; `shell` imports
//! them all; `setup` imports `config`, `wire` and `sys`; `ctl` imports `wire`, `config` and
//! `machine`; `main` may import everything.

extern crate alloc;

pub mod config;
pub mod ctl;
pub mod helper;
pub mod machine;
pub mod setup;
pub mod shell;
pub mod sys;
pub mod wire;
