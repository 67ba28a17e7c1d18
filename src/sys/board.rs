//! What the first process of a machine does before anybody else can live: file systems of the
//! kernel, the host name, the loopback interface.
//!
//! What is there already is fine. What cannot be had is told and gone without.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::system::{RebootCommand, reboot, sethostname};

use super::{files, netlink, reason};

/// A file system of the kernel.
struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: &'static std::ffi::CStr,
}

const SAFE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

const MOUNTS: [Mount; 6] = [
    of_kernel("proc", "/proc", SAFE, c""),
    of_kernel("sysfs", "/sys", SAFE, c""),
    of_kernel("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755"),
    of_kernel(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID.union(MountFlags::NOEXEC),
        c"mode=0620,gid=5,ptmxmode=0666",
    ),
    of_kernel("tmpfs", "/dev/shm", MountFlags::NOSUID.union(MountFlags::NODEV), c"mode=1777"),
    of_kernel("tmpfs", "/run", MountFlags::NOSUID.union(MountFlags::NODEV), c"mode=0755"),
];

const CGROUPS: &str = "/sys/fs/cgroup";
/// Where version 2 goes when version 1 has the controllers, as everybody expects it.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Longest host name of the kernel.
const HOST_NAME_BYTES: usize = 64;

/// `struct nlmsghdr` and `struct ifinfomsg` that set IFF_UP of the first interface, which is the
/// loopback; to be acknowledged.
const LOOPBACK_UP: [[u8; 4]; 8] = [
    32_u32.to_ne_bytes(),
    // RTM_NEWLINK; NLM_F_REQUEST, NLM_F_ACK.
    two(16, 5),
    1_u32.to_ne_bytes(),
    [0; 4],
    [0; 4],
    1_u32.to_ne_bytes(),
    1_u32.to_ne_bytes(),
    1_u32.to_ne_bytes(),
];

const fn of_kernel(
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: &'static std::ffi::CStr,
) -> Mount {
    Mount { kind, target, flags, data }
}

const fn two(one: u16, other: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (one.to_ne_bytes(), other.to_ne_bytes());
    [a, b, c, d]
}

/// Mounts what a machine needs; `say` is told what cannot be had, a sentence each.
pub fn mount_all(say: &mut dyn FnMut(&str)) {
    for one in &MOUNTS {
        if let Err(errno) = mount_one(one) {
            say(&format!("mounting {} on {}: {}", one.kind, one.target, reason(errno)));
        }
    }
    if let Err(errno) = mount_cgroups() {
        say(&format!("mounting cgroups on {CGROUPS}: {}", reason(errno)));
    }
}

fn mount_one(one: &Mount) -> Result<(), Errno> {
    if is_mounted(one.target) {
        return Ok(());
    }
    make_dir(one.target)?;
    match mount(one.kind, one.target, one.kind, one.flags, one.data) {
        Err(Errno::BUSY) => Ok(()),
        result => result,
    }
}

/// Version 2 where it has controllers; else version 1 for them and version 2 beside, as far as
/// the kernel has either.
fn mount_cgroups() -> Result<(), Errno> {
    if is_mounted(CGROUPS) {
        return Ok(());
    }
    let mounted = mount("cgroup2", CGROUPS, "cgroup2", SAFE, c"");
    if mounted.is_ok() {
        let controllers = fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers"));
        if controllers.is_ok_and(|text| !text.trim().is_empty()) {
            return Ok(());
        }
        unmount(CGROUPS, UnmountFlags::empty())?;
    }
    let data = c"mode=0755";
    mount("tmpfs", CGROUPS, "tmpfs", SAFE, data)?;
    if mounted.is_ok() {
        make_dir(UNIFIED)?;
        mount("cgroup2", UNIFIED, "cgroup2", SAFE, c"")?;
    }
    let table = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let mut result = mounted;
    for name in version_1(&table) {
        let target = format!("{CGROUPS}/{name}");
        let option = std::ffi::CString::new(name).map_err(|_| Errno::INVAL)?;
        make_dir(&target)?;
        result = match mount("cgroup", target.as_str(), "cgroup", SAFE, option.as_c_str()) {
            Ok(()) => Ok(()),
            // Bound to version 2, or known and not there: others are still of use.
            Err(_) => fs::remove_dir(&target).map_or(result, |()| result),
        };
    }
    result
}

/// The enabled controllers of `/proc/cgroups`.
fn version_1(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.next_back() == Some("1")).then_some(name)
    })
}

/// Whether something is mounted there: its device is not that of the directory above.
fn is_mounted(target: &str) -> bool {
    let device = |path: &Path| fs::metadata(path).ok().map(|found| found.dev());
    let path = Path::new(target);
    let Some(own) = device(path) else {
        return false;
    };
    path.parent().and_then(device) != Some(own)
}

fn make_dir(path: &str) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        // On a read-only root the directory may be there all the same.
        Err(Errno::ROFS) if Path::new(path).is_dir() => Ok(()),
        result => result,
    }
}

/// Takes the host name from a file: the first line that is no comment.
///
/// # Errors
///
/// A sentence; a file that is not there is none.
pub fn set_host_name(file: &Path) -> Result<(), String> {
    let text = match files::read_bounded(file, 4096) {
        Ok(text) => text,
        Err(fault) if fault.is_missing() => return Ok(()),
        Err(fault) => return Err(fault.to_string()),
    };
    let Some(name) = host_name(&text) else {
        return Err(format!("{} has no host name in it", file.display()));
    };
    sethostname(name.as_bytes()).map_err(|errno| format!("naming the host: {}", reason(errno)))
}

fn host_name(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    let name = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    (name.len() <= HOST_NAME_BYTES && !name.contains(char::is_whitespace)).then_some(name)
}

/// Brings up the loopback interface; its address comes by itself.
///
/// # Errors
///
/// A sentence.
pub fn loopback_up() -> Result<(), String> {
    let told = |why: String| format!("bringing up the loopback interface: {why}");
    let answer = netlink::ask(&LOOPBACK_UP.concat(), |_| true);
    let answer = answer.map_err(|error| told(reason(super::errno(&error))))?;
    // `struct nlmsgerr` comes after the header of 16 bytes and begins with the negative error.
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(told(reason(Errno::from_raw_os_error(code.saturating_neg())))),
        None => Err(told("the kernel's answer makes no sense".to_owned())),
    }
}

/// Three keys on a keyboard are a wish (SIGINT to PID 1), not the end.
///
/// # Errors
///
/// Not allowed, or no keyboard is here to speak of.
pub fn tame_ctrl_alt_del() -> Result<(), Errno> {
    reboot(RebootCommand::CadOff)
}

/// Gives the first process a console where the kernel had none for it.
///
/// # Errors
///
/// There is none.
pub fn open_console() -> Result<(), Errno> {
    let null = fs::metadata("/dev/null").map(|found| found.rdev());
    let own = fs::metadata("/proc/self/fd/2");
    let is_nowhere = match (null, own) {
        (Ok(null), Ok(own)) => own.file_type().is_char_device() && own.rdev() == null,
        _ => false,
    };
    if !is_nowhere {
        return Ok(());
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let console = rustix::fs::open("/dev/console", flags, Mode::empty())?;
    rustix::stdio::dup2_stdin(&console)?;
    rustix::stdio::dup2_stdout(&console)?;
    rustix::stdio::dup2_stderr(&console)
}

/// The executable files of a directory, by name; none if it is not there.
///
/// # Errors
///
/// It cannot be read, or does not belong to root alone.
pub fn executables(dir: &Path) -> Result<Vec<String>, String> {
    let told =
        |error: &io::Error| format!("reading {}: {}", dir.display(), reason(super::errno(error)));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(told(&error)),
    };
    let is_safe = |found: &fs::Metadata| found.uid() == 0 && found.mode() & 0o022 == 0;
    if !fs::metadata(dir).is_ok_and(|found| is_safe(&found)) {
        return Err(format!("{}: passed over, for others than root can write it", dir.display()));
    }
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let is_fit = fs::metadata(entry.path())
            .is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0 && is_safe(&meta));
        if let (true, Ok(path)) = (is_fit, entry.path().into_os_string().into_string()) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_are_read() {
        for (text, name) in [
            ("pi-1\n", Some("pi-1")),
            ("# ours\n\n  pi-2  \nmore\n", Some("pi-2")),
            ("", None),
            ("two words\n", None),
            (&"x".repeat(65), None),
        ] {
            assert_eq!(host_name(text), name, "{text}");
        }
    }

    #[test]
    fn controllers_of_version_1_are_read() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                     cpuset\t3\t1\t1\nmemory\t0\t1\t0\npids\t8\t1\t1\n\nrubbish\n";
        assert_eq!(version_1(table).collect::<Vec<_>>(), ["cpuset", "pids"]);
    }

    #[test]
    fn what_is_mounted_is_seen() {
        assert!(is_mounted("/proc"));
        assert!(!is_mounted("/proc/self") && !is_mounted("/nowhere/at/all"));
    }

    #[test]
    fn the_loopback_can_be_asked_for() {
        // Root succeeds, others are told why not; a wrong message would be told to be one.
        if let Err(why) = loopback_up() {
            assert!(why.ends_with("operation not permitted"), "{why}");
        }
    }
}
