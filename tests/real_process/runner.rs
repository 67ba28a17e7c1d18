//! Runs the tests: each in namespaces of its own, several at a time, the slow ones not for ever.

use std::fs::{self, File};
use std::io::{Write, stderr};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pisup::sys::cgroup::Cgroups;

use crate::harness;

/// A name and what it stands for.
pub type Test = (&'static str, fn());

/// Longer than any deadline within a test: only a test that hangs gets there.
const PATIENCE: Duration = Duration::from_secs(150);

/// Tests at a time; they mostly wait.
const AT_A_TIME: usize = 6;

pub fn tell(text: &str) {
    // Nobody may be listening any more.
    let _ = writeln!(stderr(), "{text}");
}

/// Runs all whose name contains one of the words; an unknown option (of `cargo test`) is passed
/// over, like the number of threads.
pub fn run_all(tests: &[Test], words: &[String]) -> ExitCode {
    let options = words.iter().filter(|word| word.starts_with("--"));
    if options.clone().any(|word| word == "--list") {
        tests.iter().for_each(|(name, _)| tell(&format!("{name}: test")));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        tell("skipped: real_process: needs root, for namespaces, users and cgroups");
        return ExitCode::SUCCESS;
    }
    let is_exact = options.clone().any(|word| word == "--exact");
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let is_meant = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|f| if is_exact { name == *f } else { name.contains(*f) })
    };
    let chosen: Vec<&Test> = tests.iter().filter(|(name, _)| is_meant(name)).collect();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((name, _)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !run_one(name) {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let passed = chosen.len() - failed.len();
    let seconds = started.elapsed().as_secs();
    tell(&format!("{passed} passed, {} failed {failed:?}, {seconds} s", failed.len()));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where a test may write: an empty folder, over which it mounts a file system of its own.
fn folder(name: &str) -> PathBuf {
    let name = format!("pisup-{}-{}", std::process::id(), name.replace("::", "-"));
    std::env::temp_dir().join(name)
}

/// Runs one test in namespaces; whatever comes of it, nothing is left.
fn run_one(name: &str) -> bool {
    let folder = folder(name);
    fs::create_dir_all(&folder).unwrap();
    let log = folder.with_extension("log");
    let out = File::create(&log).unwrap();
    let started = Instant::now();
    let mut test = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["inside", name])
        .arg(&folder)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let status = loop {
        if let Some(status) = test.try_wait().unwrap() {
            break Some(status);
        }
        if started.elapsed() > PATIENCE {
            test.kill().unwrap();
            test.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let is_good = status.is_some_and(|status| status.success());
    let seconds = started.elapsed().as_secs_f32();
    let text = fs::read_to_string(&log).unwrap_or_default();
    let word = match status {
        Some(_) if is_good => "ok",
        Some(_) => "FAILED",
        None => "HANGS",
    };
    let told = if is_good { harness::told(&text) } else { text };
    tell(format!("{name} ... {word} ({seconds:.1} s)\n{told}").trim_end());
    fs::remove_file(&log).unwrap();
    clean(&folder);
    is_good
}

/// Removes the folder and, of a test that has failed, the groups of its supervisor.
fn clean(folder: &Path) {
    let marker = folder.file_name().unwrap().to_str().unwrap();
    let marker = marker.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let groups = |root: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let paths: Vec<&str> = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    for root in
        [vec![PathBuf::from("/sys/fs/cgroup")], groups(Path::new("/sys/fs/cgroup"))].concat()
    {
        for path in &paths {
            let here = root.join(path.trim_start_matches('/'));
            for group in groups(&here).iter().filter(|g| g.to_str().unwrap().contains(&marker)) {
                // The last of them may still be dying.
                let start = Instant::now();
                while group.exists() && start.elapsed() < Duration::from_secs(5) {
                    groups(group).iter().for_each(|unit| drop(fs::remove_dir(unit)));
                    let _ = fs::remove_dir(group);
                }
            }
        }
    }
    let _ = fs::remove_dir(folder);
}

/// The first process of the namespaces: makes them a home and runs the test.
pub fn inside(tests: &[Test], name: &str, folder: &str) -> ExitCode {
    let (_, test) = tests.iter().find(|(known, _)| *known == name).unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mounted = Command::new("mount").args(["-t", "tmpfs", "pisup-test", folder]).status();
    assert!(mounted.unwrap().success(), "no file system on {folder}");
    let is_up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(is_up.unwrap().success(), "no loopback");
    harness::settle(Path::new(folder));
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        harness::tell_all();
        // The end of the first process is the end of all.
        std::process::abort();
    }));
    test();
    ExitCode::SUCCESS
}

/// Whether this machine has a group that tells who belongs to a unit.
pub fn has_groups() -> bool {
    let run = harness::folder().join("probe");
    fs::create_dir_all(&run).unwrap();
    let (groups, _) = Cgroups::discover(&run, &[]);
    let has = groups.kind() != "none";
    groups.remove();
    has
}
