//! `pisup check`: a folder of files to sentences and an exit code, and whose files it refuses.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::double::{Ended, Run};

/// A worker that asks its host for nothing, and a unit that needs one of the master.
const FILES: [(&str, &str); 3] = [
    (
        "node.toml",
        "role = \"worker\"\nmaster = \"192.168.1.10\"\nname = \"pi-2\"\n\
         interface = \"eth0\"\naddress = \"192.168.1.11\"\n",
    ),
    ("units/etcd.toml", "[unit]\nroles = [\"master\"]\n[command]\nexec = [\"etcd\"]\n"),
    ("units/flannel.toml", "[unit]\nrequires = [\"etcd\"]\n[command]\nexec = [\"flanneld\"]\n"),
];

const NOTE: &str = "flannel requires etcd, which a worker has not: left out";

/// A configuration that nobody has spoilt yet.
struct Config(Run);

impl Config {
    fn new() -> Self {
        let config = Self(Run::new());
        fs::create_dir(config.at("units")).unwrap();
        config.mode("", 0o755);
        config.mode("units", 0o755);
        for (name, text) in FILES {
            config.write(name, text);
        }
        config
    }

    fn at(&self, name: &str) -> PathBuf {
        match name {
            "" => self.0.path().to_owned(),
            name => self.0.path().join(name),
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
        self.mode(name, 0o644);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).unwrap();
    }

    fn check(&self) -> Ended {
        check(&["check", "--config"], Some(self.0.path()))
    }

    /// What is told when one thing is wrong, without the path.
    fn refusal(&self) -> String {
        let ended = self.check();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.err, "pisup: the configuration has 1 error\n", "{}", ended.out);
        ended.out.replace(&self.0.path().display().to_string(), "ETC")
    }
}

fn check(words: &[&str], last: Option<&Path>) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
    Ended::of(&command.args(words).args(last).output().unwrap())
}

#[test]
fn a_good_configuration_has_notes_and_exit_code_0() {
    let config = Config::new();
    let ended = config.check();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert_eq!(ended.out, format!("note: {NOTE}\n1 unit, no errors\n"));
    let path = config.0.path().to_str().unwrap();
    for words in [["--config", path, "check", "--json"], ["check", "--json", "--config", path]] {
        let ended = check(&words, None);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        let json = format!(
            "{{\"ok\":true,\"units\":[\"flannel\"],\"notes\":[\"{NOTE}\"],\"errors\":[]}}\n"
        );
        assert_eq!(ended.out, json);
    }
}

#[test]
fn all_errors_of_all_files_are_told_at_once() {
    let config = Config::new();
    config.write("units/a.toml", "[unit]\nrequires = [\"flanel\"]\n[comand]\nexec = [\"a\"]\n");
    config.write("units/b.toml", "[command]\nexec = \"b\"\n");
    config.mode("units/etcd.toml", 0o646);
    let ended = config.check();
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.err, "pisup: the configuration has 5 errors\n");
    for part in [
        "unknown unit `flanel`",
        "did you mean `flannel`?",
        "unknown section [comand]",
        "did you mean `command`?",
        "neither [command] nor [container]",
        "units/b.toml:2:8",
        "units/etcd.toml: others can write to it (mode 0646)",
    ] {
        assert!(ended.out.contains(part), "no {part} in\n{}", ended.out);
    }
    let ended = check(&["check", "--json", "--config"], Some(config.0.path()));
    assert_eq!(ended.code, Some(1));
    let start = "{\"ok\":false,\"units\":[],\"notes\":[],\"errors\":[\"reading ";
    assert!(ended.out.starts_with(start), "{}", ended.out);
    assert_eq!(ended.out.find('\n'), Some(ended.out.len() - 1), "one line");
}

#[test]
fn what_others_can_write_is_refused() {
    for (name, mode, path) in [
        ("", 0o775, "ETC"),
        ("", 0o1777, "ETC"),
        ("units", 0o757, "ETC/units"),
        ("node.toml", 0o664, "ETC/node.toml"),
        ("units/flannel.toml", 0o602, "ETC/units/flannel.toml"),
    ] {
        let config = Config::new();
        config.mode(name, mode);
        let told = config.refusal();
        let start = format!("reading {path}: others can write to it (mode {mode:04o})");
        assert!(told.contains(&start), "{told}");
        assert!(told.contains(&format!("fix: chmod go-w {path}")), "{told}");
    }
}

#[test]
fn links_are_refused_and_the_way_to_the_folder_is_not_looked_at() {
    for name in ["node.toml", "units/flannel.toml", "units"] {
        let (config, elsewhere) = (Config::new(), Run::new());
        let target = elsewhere.path().join("target");
        fs::rename(config.at(name), &target).unwrap();
        symlink(&target, config.at(name)).unwrap();
        let told = config.refusal();
        let start = format!("reading ETC/{name}: it is a symbolic link");
        assert!(told.contains(&start), "{told}");
    }
    let (config, elsewhere) = (Config::new(), Run::new());
    let link = elsewhere.path().join("link");
    symlink(config.0.path(), &link).unwrap();
    assert_eq!(check(&["check", "--config"], Some(&link)).code, Some(0));
}

#[test]
fn what_is_not_there_is_told_with_a_way_out() {
    let run = Run::new();
    let ended = check(&["check", "--config"], Some(&run.path().join("none")));
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("--config names another one"), "{}", ended.out);
    for name in ["node.toml", "units"] {
        let config = Config::new();
        match name {
            "units" => fs::remove_dir_all(config.at(name)).unwrap(),
            _ => fs::remove_file(config.at(name)).unwrap(),
        }
        assert!(config.refusal().contains(&format!("reading ETC/{name}: no such file")));
    }
}

#[test]
fn an_error_does_not_reach_the_terminal_as_a_command() {
    let config = Config::new();
    config.write("units/a.toml", "[\"\\u001b[2J\"]\n[command]\nexec = [\"\u{202e}a\", 1]\n");
    let ended = config.check();
    assert_eq!(ended.code, Some(1));
    assert!(!ended.out.contains(['\x1b', '\u{202e}']), "{:?}", ended.out);
}
