//! The program that this process is, and another one in its place.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::init_link::VARIABLE;
use super::{Fault, own};

/// What always is the program of the process that looks.
const SELF: &str = "/proc/self/exe";

/// A descriptor that means this program, whatever becomes of its file.
pub fn own_file() -> Result<OwnedFd, Fault> {
    open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(Fault::of("opening", SELF))
}

/// Standard error, for a child that is to have it.
#[must_use]
pub fn stderr() -> std::io::Stderr {
    std::io::stderr()
}

/// The environment of this process, for one whose standard input is a link.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    let own = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let is_fit = |key: &str| key != VARIABLE && !key.is_empty() && !key.contains('=');
    own.filter(|(key, _)| is_fit(key)).chain([(VARIABLE.to_owned(), "0".to_owned())]).collect()
}

/// The path that this program was started from, whatever is there now.
#[must_use]
pub fn installed_path() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_else(|_| SELF.into());
    let text = path.to_string_lossy();
    text.strip_suffix(" (deleted)").map(PathBuf::from).unwrap_or(path)
}

/// Puts another program in the place of this one: the process, its children and its environment
/// stay, and `link` is its standard input. Comes back only if that fails.
///
/// `words` are its arguments, the first one its name.
#[must_use]
pub fn replace(program: &Path, words: &[String], link: &OwnedFd) -> Fault {
    let fault = Fault::of("executing", program.display());
    let text = |word: &str| CString::new(word).ok();
    let argv: Option<Vec<CString>> = words.iter().map(|word| text(word)).collect();
    let env: Vec<CString> =
        environment().iter().filter_map(|(key, value)| text(&format!("{key}={value}"))).collect();
    let (Some(path), Some(argv)) = (program.to_str().and_then(text), argv) else {
        return fault(Errno::INVAL);
    };
    // Or its children would have more than this process was born with.
    own::lower_descriptors();
    let errno = match rustix::stdio::dup2_stdin(link.as_fd()) {
        Ok(()) => match nix::unistd::execve(&path, &argv, &env) {
            Ok(never) => match never {},
            Err(errno) => Errno::from_raw_os_error(errno as i32),
        },
        Err(errno) => errno,
    };
    own::raise_descriptors();
    if let Ok(null) = File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    fault(errno)
}
