//! The state that a program is started in, and why it is not started.

use super::*;

#[test]
fn a_program_runs_and_its_code_comes_back() {
    let _alone = alone();
    let (text, exit, spawned) = run(shell("echo hello; exit 7"));
    assert_eq!((text.as_str(), exit), ("hello\n", Exit::Code(7)));
    assert_eq!(spawned.warnings, Vec::<String>::new());
    assert!(spawned.pidfd.is_some());
    assert_eq!(run(shell("kill -9 $$")).1, Exit::Signal(9));
}

#[test]
fn what_cannot_be_executed_is_said_in_a_sentence() {
    let _alone = alone();
    let mut request = Request::new(words(&["no-such-daemon"]));
    request.path = "/usr/sbin:/usr/bin".to_owned();
    let text = "no-such-daemon: not found in PATH \
                (tried /usr/sbin/no-such-daemon, /usr/bin/no-such-daemon)";
    assert_eq!(fails(&request).to_string(), text);
    for (program, text) in [
        ("/no/such", "/no/such: no such file"),
        ("/etc/passwd/x", "/etc/passwd/x: no such file"),
        ("/etc/passwd", "/etc/passwd: permission denied: not executable"),
        ("/etc", "/etc: permission denied: it is a directory"),
        ("", "nothing to execute: the command is empty"),
        ("a\0b", "the program's name contains a zero byte"),
    ] {
        assert_eq!(fails(&Request::new(words(&[program]))).to_string(), text);
    }
    let error = fails(&Request::new(Vec::new()));
    assert_eq!(error.to_string(), "nothing to execute: the command is empty");
    let mut request = Request::new(words(&["true"]));
    request.directory = "/no/where".to_owned();
    let text = "cannot enter directory /no/where: no such file or directory";
    assert_eq!(fails(&request).to_string(), text);
    request.directory = "/etc/passwd".to_owned();
    let text = "cannot enter directory /etc/passwd: not a directory";
    assert_eq!(fails(&request).to_string(), text);
}

#[test]
fn files_that_are_no_programs_are_told_apart() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let _alone = alone();
    let folder = std::env::temp_dir().join(format!("pisup-process-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let executable = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let script = executable("script", b"#!/no/interpreter -x\n");
    let text = executable("text", b"no first line\n");
    let link = folder.join("link").to_str().unwrap().to_owned();
    symlink("/no/target", &link).unwrap();
    for (program, text) in [
        (&script, format!("{script}: its interpreter /no/interpreter does not exist")),
        (
            &text,
            format!(
                "{text}: not a program for this machine (another architecture, or a script \
                 without #! in its first line)"
            ),
        ),
        (&link, format!("{link}: a link to something that does not exist")),
    ] {
        let error = fails(&Request::new(vec![program.clone()]));
        assert_eq!(error.to_string(), text);
        assert!(!error.is_transient());
    }
    let long = vec!["true".to_owned(), "x".repeat(8 << 20)];
    let error = fails(&Request::new(long)).to_string();
    assert!(error.ends_with("true: arguments and environment are too long"), "{error}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let _alone = alone();
    let file = fs::File::open("/dev/null").unwrap();
    let refused = |change: &dyn Fn(&mut Request<'_>)| {
        let mut request = Request::new(words(&["true"]));
        change(&mut request);
        fails(&request).to_string()
    };
    let mut twice = Request::new(words(&["true"]));
    twice.extra_fds = vec![(file.as_fd(), 3)];
    twice.sockets = vec![(file.as_fd(), "x".to_owned())];
    assert_eq!(fails(&twice).to_string(), "descriptor 3 is promised twice");
    twice.sockets.clear();
    for (target, text) in [
        (1, "descriptor 1 is promised twice"),
        (-1, "descriptor -1 is not within 3 to 255"),
        (256, "descriptor 256 is not within 3 to 255"),
    ] {
        twice.extra_fds = vec![(file.as_fd(), target)];
        assert_eq!(fails(&twice).to_string(), text);
    }
    let variable = |key: &str| (key.to_owned(), "x".to_owned());
    let text = refused(&|request| request.env = vec![variable("A=B")]);
    assert_eq!(text, "\"A=B\" cannot be a variable's name");
    let text = refused(&|request| request.env = vec![variable("A\0")]);
    assert_eq!(text, "the variable A\0 contains a zero byte");
    let text = refused(&|request| request.cpus = vec![5000]);
    assert_eq!(text, "there is no CPU 5000");
}

#[test]
fn listen_pid_is_the_child_itself() {
    let _alone = alone();
    let file = fs::File::open("/dev/null").unwrap();
    let mut request = shell("echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES");
    request.env.push(("LISTEN_PID".to_owned(), "1".to_owned()));
    request.sockets = vec![(file.as_fd(), "api".to_owned()), (file.as_fd(), "tcp".to_owned())];
    let (text, _, spawned) = run(request);
    assert_eq!(text, format!("{0} {0} 2 api:tcp\n", spawned.pid));
}

#[test]
fn the_environment_is_what_was_asked_for_and_nothing_else() {
    let _alone = alone();
    let mut request = Request::new(Vec::new());
    assert_eq!(Living::new(request).read("environ"), "");
    request = Request::new(Vec::new());
    request.env =
        [("A", "1 2"), ("LISTEN_FDS", "kept"), ("EMPTY", "")].map(owned).into_iter().collect();
    let living = Living::new(request);
    assert_eq!(living.read("environ"), "A=1 2\0LISTEN_FDS=kept\0EMPTY=\0");
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn only_promised_descriptors_are_open_and_each_is_the_right_one() {
    let _alone = alone();
    // One that leaks if anything can: no close-on-exec.
    let leak = rustix::io::dup(fs::File::open("/proc/self/status").unwrap()).unwrap();
    let open = |path| fs::File::open(path).unwrap();
    let (zero, full, hosts) = (open("/dev/zero"), open("/dev/full"), open("/etc/passwd"));
    let plain = Living::new(Request::new(Vec::new()));
    assert_eq!(plain.fds(), [0, 1, 2]);
    assert_eq!((plain.link("fd/1"), plain.link("fd/2")), ("/dev/null".into(), "/dev/null".into()));
    let mut request = Request::new(Vec::new());
    request.stderr = Some(zero.as_fd());
    request.sockets = vec![(full.as_fd(), "a".to_owned()), (hosts.as_fd(), "b".to_owned())];
    request.extra_fds = vec![(zero.as_fd(), 200), (leak.as_fd(), 7), (full.as_fd(), 6)];
    let living = Living::new(request);
    assert_eq!(living.fds(), [0, 1, 2, 3, 4, 6, 7, 200]);
    let links = [1, 2, 3, 4, 6, 200].map(|fd| living.link(&format!("fd/{fd}")));
    let wanted = ["/dev/null", "/dev/zero", "/dev/full", "/etc/passwd", "/dev/full", "/dev/zero"];
    assert_eq!(links, wanted);
    assert!(living.link("fd/7").ends_with("/status"));
}

#[test]
fn session_directory_and_umask_are_its_own() {
    let _alone = alone();
    let living = Living::new(Request::new(Vec::new()));
    let stat = child::stat(living.pid).unwrap();
    assert_eq!((stat.session, stat.group), (living.pid, living.pid));
    assert_eq!(stat.parent, std::process::id());
    assert_eq!(living.status("Umask"), "0022");
    assert_eq!(living.link("cwd"), "/");
    let mut request = Request::new(Vec::new());
    request.umask = 0o077;
    request.directory = "/usr/bin".to_owned();
    let living = Living::new(request);
    assert_eq!(living.status("Umask"), "0077");
    assert_eq!(living.link("cwd"), "/usr/bin");
}
