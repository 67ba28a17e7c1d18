//! The values that units export: read from a file, and kept over a power cut where asked for.
//!
//! A copy is written only when it differs, so an SD card is written on the day the values change.

use std::path::{Path, PathBuf};

use crate::config::plan::Exports;
use crate::machine::Values;
use crate::sys::Errno;
use crate::sys::files::{self, Durable};
use crate::wire::envfile;

/// Reads a file of values; `None` when it is not there, or not a file that can be read.
///
/// The sentences are what is wrong with it; what is right counts all the same.
#[must_use]
pub fn read(file: &Path) -> (Option<Values>, Vec<String>) {
    match files::read_bytes(file, envfile::MAX_BYTES) {
        Ok(bytes) => {
            let parsed = envfile::parse(&bytes);
            let told = |error| format!("{}: {error}", file.display());
            (Some(parsed.values), parsed.errors.iter().map(told).collect())
        }
        Err(fault) if fault.errno == Errno::NOENT => (None, Vec::new()),
        Err(fault) => (None, vec![fault.to_string()]),
    }
}

/// Where the copy of a unit's values is kept.
#[must_use]
pub fn copy_path(state: &Path, unit: &str) -> PathBuf {
    state.join("exports").join(unit)
}

/// Whether the copy says what the file says; also if there is nothing to copy.
#[must_use]
pub fn is_kept(file: &Path, copy: &Path) -> bool {
    let read = |path| files::read_bytes(path, envfile::MAX_BYTES);
    match read(file) {
        Ok(bytes) => read(copy).is_ok_and(|kept| kept == bytes),
        Err(_) => true,
    }
}

/// Puts a unit's kept values back where it looks for them, if nothing is there.
///
/// # Errors
///
/// A sentence: the target cannot be written.
pub fn put_back(exports: &Exports, state: &Path, unit: &str) -> Result<bool, String> {
    if exports.file.exists() {
        return Ok(false);
    }
    let Ok(bytes) = files::read_bytes(&copy_path(state, unit), envfile::MAX_BYTES) else {
        return Ok(false);
    };
    let directory = exports.file.parent().map_or(Ok(()), files::make_dir);
    directory
        .and_then(|()| files::write_atomic(&exports.file, &bytes, 0o644, Durable::No))
        .map_err(|fault| format!("its kept values are not put back: {fault}"))?;
    Ok(true)
}
