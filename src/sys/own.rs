//! This process itself: its numbers, its program, and what it was born with and does not keep: a
//! mask for new files, a low limit of open files. Its children get the limit back.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// The limits of open files that this process was born with, once it has changed them.
static BORN_WITH: OnceLock<Rlimit> = OnceLock::new();

/// Its process id.
#[must_use]
pub fn pid() -> u32 {
    std::process::id()
}

/// The process id of its parent.
#[must_use]
pub fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

/// Its program, for helpers that are parts of it.
#[must_use]
pub fn program() -> PathBuf {
    // Its file may have been replaced.
    let path = std::env::current_exe().ok().filter(|path| path.is_file());
    path.unwrap_or_else(|| "/proc/self/exe".into())
}

/// New files are readable for all, whatever the parent thought of that.
pub fn set_umask() {
    umask(Mode::from_raw_mode(0o022));
}

/// Raises the soft limit of open files to the hard one: four or five for each unit are more than
/// the usual 1024, which is only so low for programs that use select.
pub fn raise_descriptors() {
    let born_with = BORN_WITH.get_or_init(|| getrlimit(Resource::Nofile));
    let maximum = born_with.maximum;
    // Where the system refuses, what there is has to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Gives back what [`raise_descriptors`] took, for a program in the place of this one.
pub(super) fn lower_descriptors() {
    if let Some(limit) = BORN_WITH.get() {
        let _ = setrlimit(Resource::Nofile, *limit);
    }
}

/// What a child gets back.
pub(super) fn inherited_descriptors() -> Option<Rlimit> {
    BORN_WITH.get().copied()
}
