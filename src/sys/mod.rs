//! The only system calls of the program, and its only unsafe block (in `spawn`).
//!
//! Functions here do one thing to the kernel and return a value or why not; they decide nothing,
//! log nothing and never wait, unless their name says so.

pub mod board;
pub mod caps;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod config_dir;
pub mod every_signal;
pub mod fault;
pub mod fd;
pub mod files;
mod foreign;
pub mod host;
pub mod init_link;
pub mod inotify;
pub mod netlink;
pub mod notifier;
pub mod notify_socket;
pub mod own;
pub mod poll;
pub mod power;
pub mod program;
pub mod segment;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod stream;
pub mod terminal;
pub mod user;
pub mod watchdog;

pub use fault::{Fault, errno, reason};
pub use rustix::io::Errno;
