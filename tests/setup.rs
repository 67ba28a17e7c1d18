//! `pisup setup` as its user has it: what it writes, what it leaves alone, and what it says.
//!
//! The golden texts are in `tests/setup`; `BLESS=1` writes what is found.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pisup");
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/units");

/// So that no test asks the network of the machine it runs on.
const MASTER: &str = "master --name pi-1 --interface eth0 --address 10.0.0.1";
const WORKER: &str = "worker --master 10.0.0.1 --name pi-2 --interface eth0 --address 10.0.0.2";

/// A folder of a test's own, in which nothing is set up yet.
struct Place(PathBuf);

struct Ended {
    code: Option<i32>,
    /// With the names of folders in place of their paths.
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pisup-setup-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }

    /// Sets up from the profiles of this source tree.
    fn setup(&self, words: &str) -> Ended {
        self.setup_from(UNITS, words)
    }

    fn setup_from(&self, from: &str, words: &str) -> Ended {
        self.run(&format!("setup {words} --from {from}"))
    }

    /// Runs in this folder, with an umask that leaves nothing to others.
    fn run(&self, words: &str) -> Ended {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh", PROGRAM]).current_dir(&self.0);
        command.args(words.split(' '));
        command.arg("--config").arg(self.at("etc"));
        if words.starts_with("setup") {
            command.arg("--manifests").arg(self.at("pods"));
        }
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.0.display().to_string(), "HERE").replace(UNITS, "UNITS")
        };
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// All files below this folder with their modes, folders too.
    fn listing(&self) -> Vec<(PathBuf, u32)> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
                found.push((entry.path(), entry.metadata().unwrap().permissions().mode() & 0o7777));
            }
        }
        found
    }

    /// Nothing at all was written, and this is why.
    fn refuses(&self, words: &str, part: &str) {
        let before = self.listing();
        let ended = self.setup(words);
        assert_eq!(ended.code, Some(1), "{words}: {}", ended.err);
        assert!(ended.err.contains(part), "{words}: no {part:?} in\n{}", ended.err);
        assert_eq!(self.listing(), before, "{words}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn golden(name: &str, found: &str) {
    let path = format!("{}/tests/setup/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} (BLESS=1 writes it anew):\n{found}\nnot:\n{expected}");
}

/// The lines of the new `node.toml` that the profile's does not have, but for `[vars] arch`, which
/// is the machine's.
fn told(place: &Place) -> String {
    let profile = fs::read_to_string(format!("{UNITS}/classic/node.toml")).unwrap();
    let node = place.read("etc/node.toml");
    assert_eq!(node.lines().count(), profile.lines().count(), "{node}");
    let is_new = |line: &&str| !profile.lines().any(|old| old == *line);
    let lines = node.lines().filter(is_new).filter(|line| !line.starts_with("arch "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_master_has_all_that_it_needs() {
    let place = Place::new();
    let ended = place.setup(MASTER);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    golden("master.txt", &ended.out);
    golden("master-node.txt", &told(&place));
    for (path, mode) in place.listing() {
        assert_eq!(mode, if path.is_dir() { 0o755 } else { 0o644 }, "{}", path.display());
    }
    for entry in fs::read_dir(format!("{UNITS}/classic")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".toml") && name != "node.toml" {
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(place.read(&format!("etc/units/{name}")), text, "{name}");
        }
    }
    let pod = place.read("pods/kube-apiserver.yaml");
    assert!(pod.contains("--advertise-address=10.0.0.1\n"), "{pod}");
    assert!(pod.contains("image: kube-apiserver:1.24.0\n"), "{pod}");
    assert!(!pod.lines().any(|line| !line.starts_with('#') && line.contains("${")), "{pod}");
}

#[test]
fn a_worker_has_no_pods_of_its_own() {
    let place = Place::new();
    let ended = place.setup(&format!("{WORKER} --cidr 10.244.0.0/16"));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    golden("worker.txt", &ended.out);
    golden("worker-node.txt", &told(&place));
    assert!(!place.at("pods").exists());
}

#[test]
fn every_profile_makes_a_node() {
    for profile in ["native", "seed-2015"] {
        for role in [MASTER, WORKER] {
            let place = Place::new();
            let ended = place.setup(&format!("{role} --profile {profile}"));
            assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{profile} {role}");
            assert!(ended.out.contains(" units, no errors\n"), "{}", ended.out);
        }
    }
}

#[test]
fn a_second_time_changes_nothing() {
    let place = Place::new();
    assert_eq!(place.setup(MASTER).code, Some(0));
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        place.at(name).metadata().unwrap().ino()
    };
    let before = [inode("etc/node.toml"), inode("etc/units/docker.toml")];
    let ended = place.setup(MASTER);
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.contains("same    HERE/etc/node.toml\n"), "{}", ended.out);
    assert!(!ended.out.contains("new  "), "{}", ended.out);
    assert_eq!(before, [inode("etc/node.toml"), inode("etc/units/docker.toml")]);
}

#[test]
fn what_somebody_changed_is_not_written_over() {
    let place = Place::new();
    assert_eq!(place.setup(MASTER).code, Some(0));
    place.write("etc/units/docker.toml", "# mine\n[command]\nexec = [\"dockerd\"]\n");
    place.write("pods/kube-scheduler.yaml", "mine\n");
    place.write("etc/units/my-own.toml", "[command]\nexec = [\"true\"]\n");
    fs::remove_file(place.at("etc/units/etcd.toml")).unwrap();
    let before = place.listing();

    let ended = place.setup(MASTER);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), "profile UNITS/classic\n"));
    assert_eq!(
        ended.err,
        "pisup: nothing was written, because these files differ from what would be:\n  \
         HERE/etc/units/docker.toml\n  HERE/pods/kube-scheduler.yaml\n--force writes over them\n"
    );
    assert_eq!(place.listing(), before);

    let ended = place.setup(&format!("{MASTER} --force"));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    for line in [
        "over    HERE/etc/units/docker.toml\n",
        "over    HERE/pods/kube-scheduler.yaml\n",
        "new     HERE/etc/units/etcd.toml\n",
        "same    HERE/etc/units/flannel.toml\n",
        "kept    HERE/etc/units/my-own.toml (not of this profile)\n",
    ] {
        assert!(ended.out.contains(line), "no {line} in\n{}", ended.out);
    }
    assert!(!place.read("etc/units/docker.toml").contains("# mine"));
    assert!(!place.read("pods/kube-scheduler.yaml").contains("mine"));
}

#[test]
fn the_result_is_checked_with_all_that_is_there() {
    let place = Place::new();
    place.write("etc/units/my-own.toml", "[command]\nexec = [\"true\"]\n[unit]\nafter = [\"x\"]\n");
    for folder in ["etc", "etc/units"] {
        fs::set_permissions(place.at(folder), Permissions::from_mode(0o755)).unwrap();
    }
    let ended = place.setup(MASTER);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.err, "pisup: the configuration has 1 error\n");
    assert!(
        ended.out.contains("unknown unit `x`") && !ended.out.contains("next "),
        "{}",
        ended.out
    );
}

#[test]
fn what_would_be_no_configuration_is_not_written() {
    let place = Place::new();
    let worker = "worker --interface eth0 --address 10.0.0.2";
    for (words, part) in [
        (format!("{worker} --master 127.0.0.1"), "is the loopback"),
        (format!("{WORKER} --cidr 10.1.0.0"), "`cidr`"),
        (format!("{worker} --master 10.0.0.1 --name Pi_2"), "is no host name"),
        (format!("{worker} --master 10.0.0.1\"\nrole=\"x"), "is no host name"),
        (format!("{MASTER} --profile clasic"), "there are: classic, native, seed-2015"),
        (format!("{MASTER} --profile ../units/classic"), "there is no profile"),
        ("master --name pi-1 --interface none0".to_owned(), "give --address"),
    ] {
        place.refuses(&words, part);
    }
    let ended = place.setup_from("/nonexistent", MASTER);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("no such file or directory"), "{}", ended.err);
    let ended = place.run("setup worker");
    assert_eq!(ended.code, Some(2), "{}", ended.err);
}

#[test]
fn what_cannot_be_read_or_written_is_told() {
    let place = Place::new();
    fs::create_dir_all(place.at("etc/units/etcd.toml")).unwrap();
    place.refuses(MASTER, "HERE/etc/units/etcd.toml: is a directory");
    let place = Place::new();
    place.write("etc", "a file");
    place.refuses(MASTER, "HERE/etc/node.toml: not a directory");
    // A link is what its file is: the same stays, and `check` has a word to say about it.
    let place = Place::new();
    assert_eq!(place.setup(MASTER).code, Some(0));
    let unit = place.at("etc/units/docker.toml");
    fs::rename(&unit, place.at("docker.toml")).unwrap();
    symlink(place.at("docker.toml"), &unit).unwrap();
    let ended = place.setup(MASTER);
    assert!(ended.code == Some(1) && ended.out.contains("is a symbolic link"), "{}", ended.out);
}

#[test]
fn a_board_is_asked_for() {
    let place = Place::new();
    let unit = "[command]\nexec = [\"true\"]\n";
    place.write("from/small/node.toml", "role = \"master\"\n");
    place.write("from/small/a.toml", unit);
    place.write("from/small/.#a.toml", "an editor's");
    place.write("from/board/b.toml", unit);
    let from = place.at("from").display().to_string();
    let words = format!("{MASTER} --profile small");
    let ended = place.setup_from(&from, &words);
    assert!(ended.code == Some(0) && !place.at("etc/units/b.toml").exists(), "{}", ended.err);
    let ended = place.setup_from(&from, &format!("{words} --with-board"));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.contains("new     HERE/etc/units/b.toml\n2 units"), "{}", ended.out);
    let node = place.read("etc/node.toml");
    let lines: Vec<&str> = node.lines().collect();
    assert_eq!(lines.first(), Some(&"role = \"master\""), "{node}");
    assert_eq!(lines.len(), 5, "{node}");
    place.write("from/board/a.toml", unit);
    let ended = place.setup_from(&from, &format!("{words} --with-board"));
    assert_eq!(ended.err, "pisup: a.toml is in small and in board\n");
}

#[test]
fn profiles_that_anybody_can_write_are_not_found_by_themselves() {
    // Where pisup is installed, its own are found first.
    if Path::new("/usr/share/pisup/units").exists() {
        return;
    }
    let place = Place::new();
    place.write("units/small/node.toml", "role = \"master\"\n");
    place.write("units/small/a.toml", "[command]\nexec = [\"true\"]\n");
    fs::set_permissions(place.at("units"), Permissions::from_mode(0o777)).unwrap();
    let words = format!("setup {MASTER} --profile small");
    let ended = place.run(&words);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("others can write to it (mode 0777)"), "{}", ended.err);
    assert!(ended.err.ends_with("; or say --from units\n"), "{}", ended.err);
    assert_eq!(place.run(&format!("{words} --from units")).code, Some(0));
    fs::remove_dir_all(place.at("etc")).unwrap();
    fs::set_permissions(place.at("units"), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(place.run(&words).code, Some(0));
}
