//! The machine's own name.

/// The host name; `localhost` where it cannot be read as text.
#[must_use]
pub fn name() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_str().map_or_else(|_| "localhost".to_owned(), str::to_owned)
}
