//! The program that the supervisor is, and another one in its place.

use std::path::{Path, PathBuf};

use super::fd::{self, OwnedFd};
use super::{Errno, Fault, enter, stop_now};
use crate::world::kernel::Thing;
use crate::world::{self, Stop};

pub fn own_file() -> Result<OwnedFd, Fault> {
    fd::open(|_| Thing::Sink).map_err(Fault::of("opening", "the program"))
}

pub fn stderr() -> OwnedFd {
    world::with(|world| {
        let id = world.kernel.make(Thing::Sink);
        fd::hand_out(world, id)
    })
}

pub const fn environment() -> Vec<(String, String)> {
    Vec::new()
}

pub fn installed_path() -> PathBuf {
    "/pisup".into()
}

/// Comes back only if it fails.
pub fn replace(program: &Path, _words: &[String], link: &OwnedFd) -> Fault {
    let fault = Fault::of("executing", program.display());
    let replaced =
        enter(&[Errno::NOMEM]).and_then(|()| world::with(|world| world.replace_program(link.fd)));
    match replaced {
        Err(errno) => fault(errno),
        Ok(()) => {
            stop_now(Stop::Replaced);
            fault(Errno::NOSYS)
        }
    }
}
