//! What this process tells whoever started it (sd_notify): datagrams to `NOTIFY_SOCKET`.
//!
//! A helper tells its supervisor, the supervisor an init above it. Without the variable nothing is
//! told. One that does not listen just now is not waited for.

use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where it listens.
#[derive(Debug, Default)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// As the environment says.
    #[must_use]
    pub fn from_env() -> Self {
        Self(env::var_os("NOTIFY_SOCKET").and_then(|path| Self::open(&path)))
    }

    fn open(path: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(path),
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some((socket, address.ok()?))
    }

    /// Sends lines of `KEY=VALUE`.
    pub fn tell(&self, lines: &str) {
        if let Some((socket, address)) = &self.0 {
            let _ = socket.send_to_addr(lines.as_bytes(), address);
        }
    }
}
