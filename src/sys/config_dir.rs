//! The configuration folder: read whole, and only if nobody but its owner can write it.
//!
//! Every check is made on the descriptor that is then read, so that nothing can be put in its
//! place in between. What a file says is for others to judge.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::Fault;
use super::files::read_open;

/// Longest configuration file: four hundred times the longest unit that ships.
pub const MAX_CONFIG_BYTES: usize = 256 * 1024;

/// Most unit files in a folder, of all roles.
pub const MAX_UNIT_FILES: usize = 256;

/// A file's path and what is in it.
pub type Text = (PathBuf, String);

/// What a configuration folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// `node.toml`; `None` when it is absent or refused.
    pub node: Option<Text>,
    /// `units/*.toml`, sorted by name.
    pub units: Vec<Text>,
    /// Those of `units/*.toml` that were refused.
    pub refused: Vec<PathBuf>,
    /// What was refused and why, a sentence each.
    pub faults: Vec<String>,
}

/// Reads a configuration folder: everything that is right, and a sentence for everything else.
#[must_use]
pub fn read_config(directory: &Path) -> ConfigFiles {
    let mut files = ConfigFiles::default();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match openat(CWD, directory, flags, Mode::empty()) {
        Ok(root) => root,
        Err(errno) => {
            let fault = Fault::of("reading", directory.display())(errno);
            let advice = "`pisup setup` writes a configuration, --config names another one";
            files.faults.push(format!("{fault}; {advice}"));
            return files;
        }
    };
    files.faults.extend(check_writers(&root, directory).err());
    match read_config_file(&root, "node.toml", directory) {
        Ok(text) => files.node = Some((directory.join("node.toml"), text)),
        Err(sentence) => files.faults.push(sentence),
    }
    read_units(&root, &directory.join("units"), &mut files);
    files
}

/// Whether only root and the caller can put something into a directory; why not as a sentence.
pub fn check_folder(path: &Path) -> Result<(), String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, path, flags, Mode::empty());
    let folder = folder.map_err(|errno| Fault::of("reading", path.display())(errno).to_string())?;
    check_writers(&folder, path)
}

/// The same of a directory that is written to: a link in its place is refused, too, for whoever
/// made that would say where our files go.
pub fn check_own_folder(path: &Path) -> Result<(), String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(folder) => check_writers(&folder, path),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            Err(format!("reading {}: it is a symbolic link, or no directory", path.display()))
        }
        Err(errno) => Err(Fault::of("reading", path.display())(errno).to_string()),
    }
}

fn read_units(root: &OwnedFd, path: &Path, files: &mut ConfigFiles) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let units = match openat(root, "units", flags, Mode::empty()) {
        Ok(units) => units,
        Err(errno) => {
            let sentence = refusal(root, "units", path, errno);
            files.faults.push(sentence);
            return;
        }
    };
    files.faults.extend(check_writers(&units, path).err());
    let names = match names(&units) {
        Ok(names) => names,
        Err(errno) => {
            let fault = Fault::of("reading", path.display())(errno);
            files.faults.push(fault.to_string());
            return;
        }
    };
    if names.len() > MAX_UNIT_FILES {
        let what = path.display();
        let fault = format!("reading {what}: more than {MAX_UNIT_FILES} unit files; remove some");
        files.faults.push(fault);
    }
    for name in names.iter().take(MAX_UNIT_FILES) {
        match read_config_file(&units, name, path) {
            Ok(text) => files.units.push((path.join(name), text)),
            Err(sentence) => {
                files.refused.push(path.join(name));
                files.faults.push(sentence);
            }
        }
    }
}

/// The names that end in `.toml`, sorted; hidden ones are an editor's.
fn names(directory: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".toml") && !name.starts_with('.') {
            names.push(name);
        }
        if names.len() > MAX_UNIT_FILES {
            break;
        }
    }
    names.sort();
    Ok(names)
}

/// One file of the configuration, checked on the very descriptor that is read.
fn read_config_file(parent: &OwnedFd, name: &str, path: &Path) -> Result<String, String> {
    let full = path.join(name);
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::empty())
        .map_err(|errno| refusal(parent, name, &full, errno))?;
    check_writers(&file, &full)?;
    let bytes = read_open(file, &full, MAX_CONFIG_BYTES).map_err(|fault| match fault.errno {
        Errno::FBIG => format!("{fault}; {} KiB is the limit", MAX_CONFIG_BYTES / 1024),
        _ => fault.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("reading {}: line {line} is not UTF-8", full.display())
    })
}

/// Why something in the configuration could not be opened.
fn refusal(parent: &OwnedFd, name: &str, path: &Path, errno: Errno) -> String {
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    let path = path.display();
    match found.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Symlink) => {
            format!("reading {path}: it is a symbolic link; put the file itself there")
        }
        _ => Fault::of("reading", path)(errno).to_string(),
    }
}

/// Only root and the caller may be able to change a configuration.
fn check_writers(file: &OwnedFd, path: &Path) -> Result<(), String> {
    let stat =
        fstat(file).map_err(|errno| Fault::of("reading", path.display())(errno).to_string())?;
    let caller = rustix::process::geteuid().as_raw();
    writers_fault(&stat, caller, path).map_or(Ok(()), Err)
}

fn writers_fault(stat: &Stat, caller: u32, path: &Path) -> Option<String> {
    let path = path.display();
    if stat.st_uid != 0 && stat.st_uid != caller {
        let owner = stat.st_uid;
        let whose = "neither root nor who runs this";
        return Some(format!(
            "reading {path}: it belongs to user {owner}, {whose}; fix: chown root {path}"
        ));
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        return Some(format!(
            "reading {path}: others can write to it (mode {mode:04o}); fix: chmod go-w {path}"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::files::tests::TempDir;
    use super::*;

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn config(what: &str) -> TempDir {
        let dir = TempDir::new(what);
        mode(dir.path(), 0o755);
        std::fs::create_dir(dir.path().join("units")).unwrap();
        mode(&dir.path().join("units"), 0o755);
        for (name, text) in [
            ("node.toml", "role = 'master'"),
            ("units/b.toml", "b"),
            ("units/a.toml", "a"),
            ("units/.#a.toml", "an editor's"),
            ("units/a.toml~", "an editor's"),
            ("units/README", "not a unit"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
            mode(&dir.path().join(name), 0o644);
        }
        dir
    }

    #[test]
    fn a_configuration_is_read_in_order() {
        let dir = config("config");
        let files = read_config(dir.path());
        assert_eq!(files.faults, Vec::<String>::new());
        assert_eq!(files.node.unwrap().1, "role = 'master'");
        let unit = |name: &str, text: &str| (dir.path().join("units").join(name), text.to_owned());
        assert_eq!(files.units, [unit("a.toml", "a"), unit("b.toml", "b")]);
    }

    #[test]
    fn every_refusal_is_told_at_once_and_names_the_fix() {
        let dir = config("refused");
        let units = dir.path().join("units");
        mode(dir.path(), 0o775);
        mode(&units.join("a.toml"), 0o666);
        symlink(units.join("b.toml"), units.join("c.toml")).unwrap();
        std::fs::create_dir(units.join("d.toml")).unwrap();
        mode(&units.join("d.toml"), 0o755);
        std::fs::write(units.join("e.toml"), b"fine\nfine\n\xff").unwrap();
        mode(&units.join("e.toml"), 0o644);
        std::fs::write(units.join("f.toml"), vec![b' '; MAX_CONFIG_BYTES + 1]).unwrap();
        mode(&units.join("f.toml"), 0o644);
        rustix::fs::mknodat(
            CWD,
            units.join("g.toml"),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        std::fs::remove_file(dir.path().join("node.toml")).unwrap();

        let files = read_config(dir.path());
        assert_eq!(files.node, None);
        assert_eq!(files.units.len(), 1);
        let path = dir.path().display();
        let wanted = [
            format!("reading {path}: others can write to it (mode 0775); fix: chmod go-w {path}"),
            format!("reading {path}/node.toml: no such file or directory"),
            format!(
                "reading {path}/units/a.toml: others can write to it (mode 0666); \
                 fix: chmod go-w {path}/units/a.toml"
            ),
            format!(
                "reading {path}/units/c.toml: it is a symbolic link; put the file itself there"
            ),
            format!("reading {path}/units/d.toml: is a directory"),
            format!("reading {path}/units/e.toml: line 3 is not UTF-8"),
            format!("reading {path}/units/f.toml: file too large; 256 KiB is the limit"),
            format!("reading {path}/units/g.toml (not a regular file): invalid argument"),
        ];
        assert_eq!(files.faults, wanted);
    }

    #[test]
    fn another_users_file_is_refused() {
        let dir = config("owner");
        let file = std::fs::File::open(dir.path().join("node.toml")).unwrap();
        let mut stat = fstat(&file).unwrap();
        assert_eq!(writers_fault(&stat, stat.st_uid, Path::new("x")), None);
        stat.st_uid = 1234;
        assert_eq!(writers_fault(&stat, 1234, Path::new("x")), None);
        let refused = writers_fault(&stat, 99, Path::new("x")).unwrap();
        assert!(refused.contains("user 1234") && refused.ends_with("fix: chown root x"));
        stat.st_uid = 0;
        assert_eq!(writers_fault(&stat, 99, Path::new("x")), None);
    }

    #[test]
    fn a_missing_folder_says_how_to_get_one() {
        let files = read_config(Path::new("/nonexistent/pisup"));
        assert_eq!(files.faults.len(), 1);
        assert!(files.faults[0].contains("no such file or directory; `pisup setup`"));
    }

    #[test]
    fn too_many_units_are_told() {
        let dir = config("many");
        for count in 0..=MAX_UNIT_FILES {
            let path = dir.path().join(format!("units/u{count}.toml"));
            std::fs::write(&path, "").unwrap();
            mode(&path, 0o644);
        }
        let files = read_config(dir.path());
        assert_eq!(files.units.len(), MAX_UNIT_FILES);
        assert!(files.faults[0].contains("more than 256 unit files"));
    }
}
