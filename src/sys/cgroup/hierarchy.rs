//! Which hierarchies there are, and where in each of them the supervisor lives.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::group::Place;
use crate::sys::fault::{errno, reason};

/// The leaf in which the supervisor sits where version 2 allows no process above its groups; no
/// unit can have this name.
pub(super) const LEAF: &str = "_supervisor";
/// Controllers of version 2 that limits are about.
const WANTED: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// Controllers of version 1 that are of use here; the first ones tell members best.
const USEFUL: [&str; 5] = ["freezer", "pids", "memory", "cpu", "blkio"];

/// One tree of groups, at the supervisor's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) is_v2: bool,
    /// The second field of `/proc/PID/cgroup`: `memory`, `cpu,cpuacct`, empty for version 2.
    pub(super) label: String,
    /// The third field for the folder of this supervisor.
    pub(super) path: String,
    /// That folder, in the file system.
    pub(super) dir: PathBuf,
    /// What units can be limited by here.
    controllers: Vec<String>,
}

/// Hierarchies in which this process can be found, best ones for telling members first.
pub(super) fn find(mountinfo: &str, memberships: &str, instance: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(parse_mount).collect();
    let mut found: Vec<Hierarchy> = parse_memberships(memberships)
        .filter_map(|(label, path)| {
            let mut fitting = mounts.iter().filter(|mount| mount.carries(label));
            fitting.find_map(|mount| locate(mount, label, path, instance))
        })
        .collect();
    found.retain(|one| one.rank() <= USEFUL.len());
    found.sort_by_key(Hierarchy::rank);
    found
}

impl Hierarchy {
    /// Version 2 kills and tells; the freezer at least stops; the others only list.
    fn rank(&self) -> usize {
        if self.is_v2 {
            return 0;
        }
        let best = USEFUL.iter().position(|one| self.has(one));
        best.map_or(usize::MAX, |position| position + 1)
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }

    pub(super) fn place(&self, unit: &str) -> Place {
        Place {
            is_v2: self.is_v2,
            label: self.label.clone(),
            path: format!("{}/{unit}", self.path),
            dir: self.dir.join(unit),
            controllers: self.controllers.clone(),
        }
    }

    /// Makes the supervisor's own folder; groups of units go into it.
    pub(super) fn claim(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        // On a read-only mount an old folder would do for the line above.
        fs::OpenOptions::new().write(true).open(self.dir.join("cgroup.procs")).map(drop)
    }

    /// Version 2: hands the controllers down to the units' groups. What cannot be had is told.
    pub(super) fn open_up(&mut self, companions: &[u32]) -> Option<String> {
        let own = self.dir.parent()?.to_owned();
        let offered = words(&own.join("cgroup.controllers"));
        let wanted: Vec<&str> =
            WANTED.into_iter().filter(|name| offered.iter().any(|one| one == name)).collect();
        let mut enabled = enable(&own, &wanted);
        if enabled.is_err() {
            self.step_aside(companions);
            enabled = enable(&own, &wanted);
        }
        let enabled = enabled.and_then(|()| enable(&self.dir, &wanted));
        let handed_down = words(&self.dir.join("cgroup.subtree_control"));
        self.controllers = WANTED.iter().map(|name| (*name).to_owned()).collect();
        self.controllers.retain(|name| handed_down.contains(name));
        let error = enabled.err()?;
        let missing: Vec<&str> =
            wanted.into_iter().filter(|name| !handed_down.iter().any(|one| one == name)).collect();
        Some(format!(
            "cannot enable {} below {}: {} (other processes in that group are in the way; start \
             pisup in a group of its own): limits that need them are not applied",
            missing.join(", "),
            own.display(),
            reason(errno(&error))
        ))
    }

    /// Goes back to where this process was before it stepped aside, with those it took along.
    pub(super) fn step_back(&self) {
        let leaf = self.dir.join(LEAF);
        let Some(own) = self.dir.parent().filter(|_| leaf.is_dir()) else { return };
        // None was handed down before.
        disable(&self.dir);
        disable(own);
        for pid in words(&leaf.join("cgroup.procs")) {
            let _ = fs::write(own.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&leaf);
    }

    /// Version 2 wants no process in a group that hands controllers down.
    fn step_aside(&self, companions: &[u32]) {
        let leaf = self.dir.join(LEAF);
        if fs::create_dir_all(&leaf).is_err() {
            return;
        }
        let entrance = leaf.join("cgroup.procs");
        let _ = fs::write(&entrance, "0");
        for pid in companions {
            let _ = fs::write(&entrance, pid.to_string());
        }
    }
}

fn disable(dir: &Path) {
    for controller in words(&dir.join("cgroup.subtree_control")) {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("-{controller}"));
    }
}

fn enable(dir: &Path, controllers: &[&str]) -> io::Result<()> {
    let mut result = Ok(());
    for controller in controllers {
        // One by one: a controller that cannot be had is not to spoil the others.
        let written = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        result = result.and(written);
    }
    result
}

fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    root: String,
    point: PathBuf,
    is_v2: bool,
    options: Vec<String>,
}

impl Mount {
    /// Whether this is the hierarchy of that label (second field of `/proc/PID/cgroup`).
    fn carries(&self, label: &str) -> bool {
        match label {
            "" => self.is_v2,
            label => !self.is_v2 && label.split(',').all(|one| self.options.contains(&one.into())),
        }
    }
}

/// `31 23 0:28 ROOT POINT OPTIONS FIELDS... - TYPE SOURCE SUPER_OPTIONS`
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let mut right = right.split(' ');
    let is_v2 = match right.next()? {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let options = right.nth(1)?.split(',').map(str::to_owned).collect();
    Some(Mount {
        root: unescape(left.next()?),
        point: unescape(left.next()?).into(),
        is_v2,
        options,
    })
}

/// mountinfo writes blanks, tabs, newlines and backslashes as `\040`.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// `4:memory:/some/where` lines: label and path.
pub(super) fn parse_memberships(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let label = fields.next()?;
        let path = fields.next()?;
        // A dead process may be listed in a group that is gone.
        Some((label, path.strip_suffix(" (deleted)").unwrap_or(path)))
    })
}

/// Finds this process in a mount; `None` if the mount shows another part of the tree.
fn locate(mount: &Mount, label: &str, path: &str, instance: &str) -> Option<Hierarchy> {
    let dir = place_in(mount, path)?;
    let procs = fs::read_to_string(dir.join("cgroup.procs")).ok()?;
    let own = std::process::id().to_string();
    if !procs.lines().any(|pid| pid == own) {
        return None;
    }
    let aside = format!("/{instance}/{LEAF}");
    // A supervisor that stepped aside, or its successor, is not to nest in its own leaf.
    let (dir, path) = match path.strip_suffix(&aside) {
        Some(above) => (dir.parent()?.parent()?.to_owned(), above),
        None => (dir, path),
    };
    Some(Hierarchy {
        is_v2: mount.is_v2,
        label: label.to_owned(),
        path: format!("{}/{instance}", path.trim_end_matches('/')),
        dir: dir.join(instance),
        controllers: label.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
    })
}

/// The folder of the group that is known as `path`.
fn place_in(mount: &Mount, path: &str) -> Option<PathBuf> {
    let below = match mount.root.as_str() {
        "/" => path,
        root => path.strip_prefix(root)?,
    };
    if !(below.is_empty() || below.starts_with('/')) || below.contains("/..") {
        return None;
    }
    Some(mount.point.join(below.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::files::tests::TempDir;

    const LINE: &str = "35 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid master:9 - cgroup \
                        cgroup rw,cpu,cpuacct";

    #[test]
    fn mounts_are_read() {
        let mount = parse_mount(LINE).unwrap();
        assert_eq!(mount.root, "/");
        assert_eq!(mount.point, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(mount.carries("cpu,cpuacct") && mount.carries("cpu"));
        assert!(!mount.carries("memory") && !mount.carries(""));
        let line = "41 31 0:38 /a\\040b /mnt\\134x rw - cgroup2 none rw";
        let mount = parse_mount(line).unwrap();
        assert_eq!((mount.root.as_str(), mount.is_v2), ("/a b", true));
        assert_eq!(mount.point, PathBuf::from("/mnt\\x"));
        assert!(mount.carries("") && !mount.carries("memory"));
        for bad in ["", " - ", "1 2 3", "1 2 3 / /x rw - tmpfs tmpfs rw", "1 2 - cgroup x"] {
            assert_eq!(parse_mount(bad), None, "{bad}");
        }
    }

    #[test]
    fn memberships_are_read() {
        let text = "9:name=systemd:/a:b\n4:memory:/gone (deleted)\n0::/\nrubbish\n";
        let all: Vec<_> = parse_memberships(text).collect();
        assert_eq!(all, [("name=systemd", "/a:b"), ("memory", "/gone"), ("", "/")]);
    }

    #[test]
    fn a_mount_that_shows_a_part_of_the_tree() {
        let mount = |root: &str| Mount {
            root: root.to_owned(),
            point: "/sys/fs/cgroup".into(),
            is_v2: true,
            options: Vec::new(),
        };
        let dir = |root, path| place_in(&mount(root), path);
        assert_eq!(dir("/", "/"), Some("/sys/fs/cgroup".into()));
        assert_eq!(dir("/", "/a/b"), Some("/sys/fs/cgroup/a/b".into()));
        assert_eq!(dir("/docker/x", "/docker/x"), Some("/sys/fs/cgroup".into()));
        assert_eq!(dir("/docker/x", "/docker/x/y"), Some("/sys/fs/cgroup/y".into()));
        assert_eq!(dir("/docker/x", "/docker/xy"), None);
        assert_eq!(dir("/docker/x", "/elsewhere"), None);
        assert_eq!(dir("/", "/../outside"), None);
    }

    #[test]
    fn who_stepped_aside_goes_back() {
        let own = TempDir::new("aside");
        let dir = own.path().join("pisup.x");
        let leaf = dir.join(LEAF);
        fs::create_dir_all(&leaf).unwrap();
        for folder in [own.path(), &dir] {
            fs::write(folder.join("cgroup.subtree_control"), "memory\n").unwrap();
        }
        fs::write(leaf.join("cgroup.procs"), "42\n").unwrap();
        let hierarchy = Hierarchy {
            is_v2: true,
            label: String::new(),
            path: String::new(),
            dir: dir.clone(),
            controllers: Vec::new(),
        };
        hierarchy.step_back();
        for folder in [own.path(), &dir] {
            let said = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap();
            assert_eq!(said, "-memory");
        }
        assert_eq!(fs::read_to_string(own.path().join("cgroup.procs")).unwrap(), "42");
    }

    #[test]
    fn version_2_goes_first_and_unknown_text_is_survived() {
        assert_eq!(find("", "", "i"), Vec::new());
        assert_eq!(find(LINE, "0::/\n1:memory:/", "i"), Vec::new());
        let hierarchy = |label: &str| Hierarchy {
            is_v2: label.is_empty(),
            label: label.to_owned(),
            path: String::new(),
            dir: PathBuf::new(),
            controllers: label.split(',').map(str::to_owned).collect(),
        };
        let labels = ["", "freezer", "cpu,pids", "memory", "name=systemd"];
        let ranks = labels.map(|label| hierarchy(label).rank());
        assert_eq!(ranks, [0, 1, 2, 3, usize::MAX]);
    }
}
