//! A machine with nothing on its disk but a shell and pisup.

use std::path::Path;
use std::process::Command;

use super::machine::{INIT, Machine, PISUP, Place, can_unshare, script, until};

/// The libraries that a program wants, the loader among them; none if it is static.
fn libraries(program: &str) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

const UNIT: &str = r#"
[command]
exec = ["/bin/busybox", "sh", "-c", """
    cat /proc/mounts; hostname; ip addr show lo; echo end; exec sleep 1000
"""]
[ready]
log = "end"
"#;

#[test]
fn an_empty_root_becomes_a_machine() {
    let busybox = Path::new("/bin/busybox");
    if !can_unshare() || !busybox.exists() {
        return;
    }
    let place = Place::new();
    place.unit("look", UNIT);
    let mut copies = String::new();
    let libraries = [INIT, PISUP].into_iter().flat_map(libraries);
    for file in libraries.chain(["/bin/busybox".to_owned()]) {
        copies.push_str(&format!("mkdir -p root$(dirname {file}); cp -L {file} root{file}\n"));
    }
    // Nothing of the machine around it can be reached from the new root.
    script(
        &place.at("begin"),
        &format!(
            "set -e; cd {here}; mkdir root; mount -t tmpfs -o mode=755 none root\n\
             {copies}\
             mkdir -p root/sbin root/etc root/var root/old\n\
             cp {INIT} {PISUP} root/sbin/; cp -R etc root/etc/pisup\n\
             echo bare-pi > root/etc/hostname\n\
             cd root; pivot_root . old; exec ./bin/busybox chroot . /bin/busybox sh -c \
             '/bin/busybox umount -l /old; exec /sbin/pisup-init splash'",
            here = place.0.display(),
        ),
    );
    let machine = Machine::start_program(&place, &[place.at("begin").display().to_string()]);
    let run = format!("/proc/{}/root/run/pisup", machine.init);
    let lines = until("the unit", || {
        let output = Command::new(PISUP).args(["ctl", "--run", &run, "logs", "look"]).output();
        let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        text.lines().any(|line| line == "end").then_some(text)
    });
    for mount in [
        "proc /proc proc ",
        "sysfs /sys sysfs ",
        "devtmpfs /dev devtmpfs ",
        "devpts /dev/pts devpts ",
        "tmpfs /dev/shm tmpfs ",
        "tmpfs /run tmpfs ",
        " /sys/fs/cgroup ",
        " cgroup2 ",
    ] {
        assert!(lines.contains(mount), "{mount}:\n{lines}");
    }
    assert!(lines.contains("\nbare-pi\n"), "{lines}");
    assert!(lines.contains("127.0.0.1/8"), "{lines}");
    machine.await_line("splash is no option");
    let console = machine.console();
    assert!(!console.contains("pisup-init: mounting"), "{console}");
}
