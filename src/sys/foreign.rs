//! Functions of the C library that no package wraps safely, each with why it is safe to call.

use std::ffi::{c_int, c_ulong};
use std::os::fd::BorrowedFd;

/// Longest path of a swap file, with the zero at its end.
pub(super) const PATH_BYTES: usize = 256;

#[expect(unsafe_code, reason = "no package wraps these without unsafe, and no file does the same")]
// SAFETY: `ioctl` with the two requests of `watchdog` reads and writes the one integer that it is
// lent. `swapoff` reads a path up to its zero, which `power` makes sure of. `signal` takes a
// function that lives for ever; `every_signal` makes sure that it may interrupt anything.
unsafe extern "C" {
    pub(super) safe fn ioctl(fd: BorrowedFd<'_>, request: c_ulong, value: &mut c_int) -> c_int;
    pub(super) safe fn swapoff(path: &[u8; PATH_BYTES]) -> c_int;
    pub(super) safe fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
}
