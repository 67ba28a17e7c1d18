//! Another `sys`: what the shell calls the system is here a world in memory, on a clock of its own.
//!
//! The shell's sources are compiled with this folder in place of `src/sys`. Data that touches
//! nothing is the real one; each call passes [`enter`], where the supervisor may die, the world may
//! go on, and the system may refuse.

pub mod cgroup;
pub mod child;
pub mod clock;
pub mod config_dir;
pub mod fd;
pub mod files;
pub mod init_link;
pub mod inotify;
pub mod netlink;
pub mod notify_socket;
pub mod poll;
pub mod program;
pub mod segment;
pub mod small;
pub mod socket;
pub mod spawn;
pub mod stream;

pub use pisup::sys::{Errno, Fault, reason};
pub use small::{host, notifier, own, signals, user, watchdog};

use crate::world::{self, Stop};

/// A call: the supervisor may die here, the world may go on meanwhile, and one of these errors may
/// be the answer.
pub fn enter(errors: &[Errno]) -> Result<(), Errno> {
    let answer = world::with(|world| world.call(errors));
    if let Err(stop) = answer {
        stop_now(stop);
        return Ok(());
    }
    answer.unwrap_or(Ok(()))
}

/// A call that cannot fail.
pub fn pass() {
    let _ = enter(&[]);
}

/// The end of this supervisor, unless it is at its end already.
pub fn stop_now(stop: Stop) {
    if !std::thread::panicking() {
        std::panic::resume_unwind(Box::new(stop));
    }
}
