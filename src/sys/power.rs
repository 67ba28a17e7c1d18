//! The end of a machine: everybody is killed, disks are written, mounts undone, power cut.
//!
//! Only for PID 1. In a namespace of its own the mounts are somebody else's business: the first
//! process ends, and the kernel tells its parent how.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::getpid;
use rustix::system::{RebootCommand, reboot};

use super::foreign::{self, PATH_BYTES};
use super::init_link::Power;
use super::reason;

/// The inode of the first pid namespace, the same since Linux 3.8.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Rounds over what is mounted: what is in use at first may be free after others have gone.
const ROUNDS: usize = 3;

/// File systems with nothing behind them that could be lost.
const VIRTUAL: [&str; 10] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "securityfs",
    "tracefs",
    "bpf",
    "ramfs",
];

/// Whether this process is the first one, of the machine or of a namespace.
#[must_use]
pub fn is_pid_1() -> bool {
    getpid().is_init()
}

/// Whether this process lives in the machine's own pid namespace, and not in a container's.
#[must_use]
pub fn sees_machine() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|ns| ns.ino() == FIRST_PID_NAMESPACE)
}

/// Sends a signal to all processes but this one, and CONT to those that were stopped.
pub fn signal_all(number: u8) {
    use nix::sys::signal::{Signal, kill};
    // As anything but PID 1 this would hit the whole machine.
    if !is_pid_1() {
        return;
    }
    let everybody = nix::unistd::Pid::from_raw(-1);
    for number in [i32::from(number), Signal::SIGCONT as i32] {
        if let Ok(signal) = Signal::try_from(number) {
            let _ = kill(everybody, signal);
        }
    }
}

/// Writes and lets go of everything that can be: swap, mounts from the last one to the first;
/// what is still in use can only be read after that. May take as long as the slowest disk.
pub fn let_go(say: &mut dyn FnMut(&str)) {
    rustix::fs::sync();
    for path in swaps(&fs::read_to_string("/proc/swaps").unwrap_or_default()) {
        let _ = foreign::swapoff(&path);
    }
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left = targets(&table);
        let before = left.len();
        left.retain(|target| unmount(target.as_str(), UnmountFlags::NOFOLLOW).is_err());
        if left.is_empty() || left.len() == before {
            break;
        }
    }
    for target in left.iter().map(String::as_str).chain(["/"]) {
        if let Err(errno) = mount_remount(target, MountFlags::RDONLY, c"") {
            say(&format!("{target} stays writable: {}", reason(errno)));
        }
    }
    rustix::fs::sync();
}

/// Cuts the power, or what was asked. It does not come back, unless it is refused.
///
/// # Errors
///
/// This process is not the first one, or may not.
pub fn switch(power: Power) -> Result<(), Errno> {
    if !is_pid_1() {
        return Err(Errno::PERM);
    }
    reboot(match power {
        Power::Off => RebootCommand::PowerOff,
        Power::Reboot => RebootCommand::Restart,
        Power::Halt => RebootCommand::Halt,
    })
}

/// Mount points with something behind them, the last mounted first, without the root.
fn targets(mountinfo: &str) -> Vec<String> {
    let mut found: Vec<String> = mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let target = left.split(' ').nth(4)?;
            let kind = right.split(' ').next()?;
            (target != "/" && !VIRTUAL.contains(&kind)).then(|| unescape(target))
        })
        .collect();
    found.reverse();
    found
}

/// The kernel writes blanks, tabs, newlines and backslashes as `\040`.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// Swap files and devices, each ended by a zero.
fn swaps(table: &str) -> Vec<[u8; PATH_BYTES]> {
    let lines = table.lines().skip(1);
    let paths = lines.filter_map(|line| line.split_whitespace().next()).map(unescape);
    paths.filter_map(|path| ended(&path)).collect()
}

/// The path with a zero at its end; `None` if there is no room for it.
fn ended(path: &str) -> Option<[u8; PATH_BYTES]> {
    let mut bytes = [0; PATH_BYTES];
    bytes.get_mut(..path.len())?.copy_from_slice(path.as_bytes());
    (bytes.last() == Some(&0)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mounted_last_goes_first() {
        let table = "\
22 1 179:2 / / rw,relatime - ext4 /dev/mmcblk0p2 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:22 / /sys rw - sysfs sysfs rw
25 22 179:1 / /boot rw - vfat /dev/mmcblk0p1 rw
26 22 0:23 / /run rw - tmpfs tmpfs rw
27 26 0:24 / /run/a\\040b\\134c rw shared:1 - overlay overlay rw
rubbish
";
        assert_eq!(targets(table), ["/run/a b\\c", "/run", "/boot"]);
        assert_eq!(targets(""), Vec::<String>::new());
    }

    #[test]
    fn swaps_are_read_and_end_with_a_zero() {
        let table = "Filename\tType\tSize\tUsed\tPriority\n/swap\\040file file 1 0 -2\n\n";
        let found = swaps(table);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with(b"/swap file\0"));
        assert!(ended(&"x".repeat(PATH_BYTES - 1)).is_some());
        assert!(ended(&"x".repeat(PATH_BYTES)).is_none());
    }

    #[test]
    fn a_test_is_not_the_first_process() {
        assert!(!is_pid_1());
        signal_all(9);
        assert_eq!(switch(Power::Reboot), Err(Errno::PERM));
    }
}
