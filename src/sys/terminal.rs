//! The client's terminal: how wide it is, and ^C.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGINT;
use signal_hook::{flag, low_level::pipe};

/// Columns of the terminal on standard output; `None` when it is none, or does not know.
#[must_use]
pub fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A stream that gets a byte at the first ^C, which from now on ends nothing by itself.
///
/// The second one ends the process, whatever it is busy with.
pub fn interrupts() -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    let is_second = Arc::new(AtomicBool::new(false));
    flag::register_conditional_default(SIGINT, Arc::clone(&is_second))?;
    flag::register(SIGINT, is_second)?;
    pipe::register(SIGINT, writer)?;
    Ok(reader)
}
