//! Descriptors, under a name that the simulation can give to others: `tests/sim` compiles the shell
//! with a `sys` of its own, so the shell names nothing of the system but by this folder.

pub use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
