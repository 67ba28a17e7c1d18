//! The values that units export: read from a file, and kept over a power cut where asked for.
//!
//! A copy is needed only when it differs, so an SD card is written on the day the values change.
//! The copy itself is not written here: a disk may take seconds to say that it is safe.

use std::path::{Path, PathBuf};

use crate::config::plan::Exports;
use crate::machine::Values;
use crate::sys::files::{self, Durable, Found};
use crate::wire::envfile;

/// Where values come back from, and where is noted that they did.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// What outlives a power cut.
    pub state: &'a Path,
    /// The run-time directory.
    pub run: &'a Path,
    /// This boot.
    pub boot_id: &'a str,
}

/// Reads a file of values; there are none when it is not there, and it is `None` when nobody can
/// say, because it can not be read.
///
/// The sentences (at most 17) are what is wrong with it; what is right counts all the same.
#[must_use]
pub fn read(file: &Path) -> (Option<Values>, Vec<String>) {
    match files::read_bytes(file, envfile::MAX_BYTES) {
        Ok(bytes) => {
            let parsed = envfile::parse(&bytes);
            let told = |error| format!("{}: {error}", file.display());
            (Some(parsed.values), parsed.errors.iter().map(told).collect())
        }
        Err(fault) if fault.is_missing() => (Some(Values::new()), Vec::new()),
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

/// Puts a unit's kept values back where it looks for them, if nothing is there; whether it did.
///
/// That is done once a boot: whoever removes the file later means it.
pub fn put_back(exports: &Exports, unit: &str, places: Places<'_>) -> Result<bool, String> {
    let mark = places.run.join("exports").join(unit);
    let boot = files::read_bounded(&mark, 64);
    if boot.is_ok_and(|boot| boot == places.boot_id) {
        return Ok(false);
    }
    let is_back = restore(&exports.file, &copy_path(places.state, unit))
        .map_err(|fault| format!("its kept values are not put back: {fault}"))?;
    // Without the mark they are put back once more by the next supervisor, which does no harm.
    let _ = mark
        .parent()
        .map_or(Ok(()), files::make_dir)
        .and_then(|()| files::write_atomic(&mark, places.boot_id.as_bytes(), 0o644, Durable::No));
    Ok(is_back)
}

fn restore(file: &Path, copy: &Path) -> Result<bool, crate::sys::Fault> {
    if files::look(file) != Found::Nothing {
        return Ok(false);
    }
    let bytes = match files::read_bytes(copy, envfile::MAX_BYTES) {
        Err(fault) if fault.is_missing() => return Ok(false),
        result => result?,
    };
    file.parent().map_or(Ok(()), files::make_dir)?;
    files::write_atomic(file, &bytes, 0o644, Durable::No)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sys::files::tests::TempDir;

    struct Node {
        dir: TempDir,
        exports: Exports,
    }

    impl Node {
        fn new() -> Self {
            let dir = TempDir::new("exports");
            let file = dir.path().join("run/flannel/subnet.env");
            Self { dir, exports: Exports { file, keeps: true } }
        }

        fn keep(&self, text: &str) {
            let copy = copy_path(&self.dir.path().join("state"), "flannel");
            files::make_dir(copy.parent().unwrap()).unwrap();
            fs::write(copy, text).unwrap();
        }

        fn put_back(&self, boot_id: &str) -> Result<bool, String> {
            let state = self.dir.path().join("state");
            let run = self.dir.path().join("pisup");
            let places = Places { state: &state, run: &run, boot_id };
            put_back(&self.exports, "flannel", places)
        }

        fn text(&self) -> Option<String> {
            fs::read_to_string(&self.exports.file).ok()
        }
    }

    #[test]
    fn values_are_read_and_errors_are_sentences() {
        let node = Node::new();
        let file = &node.exports.file;
        assert_eq!(read(file), (Some(Values::new()), Vec::new()));
        files::make_dir(file.parent().unwrap()).unwrap();
        fs::write(file, "FLANNEL_MTU=1472\noops\n").unwrap();
        let (values, errors) = read(file);
        assert_eq!(values.unwrap()["FLANNEL_MTU"], "1472");
        assert_eq!(errors, [format!("{}: line 2: \"oops\" is not KEY=VALUE", file.display())]);

        fs::write(file, "x\n".repeat(30_000)).unwrap();
        assert_eq!(read(file).1.len(), envfile::MAX_ERRORS);
        fs::write(file, vec![b'x'; envfile::MAX_BYTES + 1]).unwrap();
        let (values, errors) = read(file);
        assert!(values.is_none() && errors[0].ends_with("file too large"), "{errors:?}");
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
        assert!(read(file).1[0].ends_with("is a directory"));
    }

    #[test]
    fn a_copy_is_made_only_when_it_differs() {
        let node = Node::new();
        let copy = copy_path(&node.dir.path().join("state"), "flannel");
        assert!(is_kept(&node.exports.file, &copy), "there is nothing to keep");
        files::make_dir(node.exports.file.parent().unwrap()).unwrap();
        fs::write(&node.exports.file, "A=1").unwrap();
        assert!(!is_kept(&node.exports.file, &copy));
        node.keep("A=1");
        assert!(is_kept(&node.exports.file, &copy));
        node.keep("A=2");
        assert!(!is_kept(&node.exports.file, &copy));
    }

    #[test]
    fn kept_values_come_back_once_a_boot() {
        let node = Node::new();
        assert_eq!(node.put_back("boot 1"), Ok(false), "nothing was kept");
        node.keep("A=1");
        assert_eq!(node.put_back("boot 1"), Ok(false), "this boot had its turn");
        assert_eq!(node.put_back("boot 2"), Ok(true));
        assert_eq!(node.text().as_deref(), Some("A=1"));
        fs::remove_file(&node.exports.file).unwrap();
        assert_eq!(node.put_back("boot 2"), Ok(false), "it was removed on purpose");
        assert_eq!(node.text(), None);
        fs::write(&node.exports.file, "A=2").unwrap();
        assert_eq!(node.put_back("boot 3"), Ok(false), "the file is newer than its copy");
        assert_eq!(node.text().as_deref(), Some("A=2"));
    }

    #[test]
    fn a_target_that_cannot_be_written_is_a_sentence() {
        let node = Node::new();
        node.keep("A=1");
        fs::write(node.dir.path().join("run"), "in the way").unwrap();
        let why = node.put_back("boot 1").unwrap_err();
        assert!(why.starts_with("its kept values are not put back: making "), "{why}");
        fs::remove_file(node.dir.path().join("run")).unwrap();
        assert_eq!(node.put_back("boot 1"), Ok(true), "a failure is not the boot's turn");
    }
}
