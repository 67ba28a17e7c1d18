//! The machine's own name.

/// The host name; `localhost` where it cannot be read as text.
#[must_use]
pub fn name() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_str().map_or_else(|_| "localhost".to_owned(), str::to_owned)
}

/// The kind of its processor as the kernel calls it: `armv7l`, `aarch64`, `x86_64`.
#[must_use]
pub fn machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}
