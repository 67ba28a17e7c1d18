//! The only system calls of the program, and its only unsafe block (in `spawn`).

pub mod caps;
pub mod cgroup;
pub mod child;
pub mod spawn;
pub mod user;
