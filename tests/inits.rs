//! The supervisor under another init: what it tells it, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for anything; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A supervisor that does not outlive its test.
struct Supervisor(Child);

impl Supervisor {
    fn start(folder: &Path, notify: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
        command.arg("supervise").env("NOTIFY_SOCKET", notify).stdin(Stdio::null());
        for place in ["config", "run", "state"] {
            command.arg(format!("--{place}")).arg(folder.join(place));
        }
        Self(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node without units: nothing of it outlives the supervisor.
fn node(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    let config = folder.join("config");
    fs::create_dir_all(config.join("units")).unwrap();
    let node = config.join("node.toml");
    let text =
        "role = \"master\"\nname = \"pi-1\"\naddress = \"198.51.100.1\"\ninterface = \"lo\"\n";
    fs::write(&node, text).unwrap();
    for (path, mode) in [(config.join("units"), 0o755), (config, 0o755), (node, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

fn listen(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8_lossy(bytes.get(..length).unwrap()).into_owned()
}

#[test]
fn an_init_hears_when_it_is_ready_and_when_it_ends() {
    let folder = node("inits-notify");
    let path = folder.join("notify");
    let socket = listen(&path);
    let mut supervisor = Supervisor::start(&folder, &path);
    assert_eq!(next(&socket), "READY=1");
    // Whoever was told so can talk to it.
    assert!(folder.join("run/ctl.sock").exists());
    supervisor.signal("TERM");
    assert_eq!(next(&socket), "STOPPING=1");
    assert_eq!(supervisor.0.wait().unwrap().code(), Some(0));
}

#[test]
fn an_init_that_does_not_listen_is_not_waited_for() {
    let folder = node("inits-deaf");
    let ready = folder.join("notify");
    // Bound and never read: a full queue must not stop anybody. And a path that nobody has bound.
    for path in [&ready, &folder.join("nobody")] {
        let _deaf = (path == &ready).then(|| listen(path));
        let control = folder.join("run/ctl.sock");
        let mut supervisor = Supervisor::start(&folder, path);
        let end = std::time::Instant::now() + PATIENCE;
        while !control.exists() {
            assert!(std::time::Instant::now() < end, "no control socket");
            std::thread::yield_now();
        }
        supervisor.signal("TERM");
        assert_eq!(supervisor.0.wait().unwrap().code(), Some(0));
    }
}
