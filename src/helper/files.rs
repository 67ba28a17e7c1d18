//! `pisup remove-files`, `make-directory` and `keep-file`: the smallest steps.
//!
//! They are processes because a path may lie on a slow or dead file system. Directories are never
//! removed, parents of files never made.

use std::ffi::OsString;
use std::path::Path;

use super::{Failure, end};
use crate::sys::files;

/// Longest file that is kept, in bytes: what a file of values may have.
const MAX_KEPT_BYTES: usize = crate::wire::envfile::MAX_BYTES;

/// `pisup remove-files PATH...`: absent ones are fine.
#[must_use]
pub fn remove(args: &[OsString]) -> u8 {
    end(remove_all(args))
}

/// `pisup make-directory PATH`: with its parents, mode 0755; one that is there is fine.
#[must_use]
pub fn make(args: &[OsString]) -> u8 {
    end(make_one(args))
}

/// `pisup keep-file FROM TO`: a copy that is on the disk when this ends; TO's folder is made.
#[must_use]
pub fn keep(args: &[OsString]) -> u8 {
    end(keep_one(args))
}

fn keep_one(args: &[OsString]) -> Result<String, Failure> {
    let [from, to] = args else {
        return Err(Failure::Usage("usage: pisup keep-file FROM TO".to_owned()));
    };
    let (from, to) = (Path::new(from), Path::new(to));
    let bytes = files::read_bytes(from, MAX_KEPT_BYTES).map_err(Failure::failed)?;
    to.parent().map_or(Ok(()), files::make_dir).map_err(Failure::failed)?;
    files::write_atomic(to, &bytes, 0o644, files::Durable::Yes).map_err(Failure::failed)?;
    Ok(format!("{} is kept in {}", from.display(), to.display()))
}

fn remove_all(paths: &[OsString]) -> Result<String, Failure> {
    if paths.is_empty() {
        return Err(Failure::Usage("usage: pisup remove-files PATH...".to_owned()));
    }
    let mut removed = Vec::new();
    for path in paths.iter().map(Path::new) {
        let was_there = path.symlink_metadata().is_ok();
        files::remove(path).map_err(Failure::failed)?;
        if was_there {
            removed.push(path.display().to_string());
        }
    }
    Ok(match removed.as_slice() {
        [] => "nothing to remove".to_owned(),
        paths => format!("removed {}", paths.join(", ")),
    })
}

fn make_one(args: &[OsString]) -> Result<String, Failure> {
    let [path] = args else {
        return Err(Failure::Usage("usage: pisup make-directory PATH".to_owned()));
    };
    let path = Path::new(path);
    let was_there = path.is_dir();
    files::make_dir(path).map_err(Failure::failed)?;
    let verb = if was_there { "is there" } else { "was made" };
    Ok(format!("{} {verb}", path.display()))
}
