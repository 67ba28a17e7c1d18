//! The small helpers as processes: `etcd-put` against a real etcd in a network namespace of its
//! own, `remove-files` and `make-directory` in a folder of their own. What needs root or etcd says
//! so where it is missing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::indexing_slicing, reason = "a test that finds nothing has to fail")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const KEY: &str = "/coreos.com/network/config";

/// Exit code, stdout, stderr.
fn pisup(args: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_pisup")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pisup-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn files_go_and_directories_come() {
    let folder = folder("files");
    let path = |name: &str| folder.join(name).display().to_string();
    let (a, b, deep) = (path("a"), path("b"), path("x/y/z"));
    std::fs::write(&a, "").unwrap();
    assert_eq!(pisup(&["remove-files", &a, &b]), (0, format!("removed {a}\n"), String::new()));
    assert_eq!(pisup(&["remove-files", &a, &b]).1, "nothing to remove\n");
    assert_eq!(pisup(&["make-directory", &deep]).1, format!("{deep} was made\n"));
    assert_eq!(pisup(&["make-directory", &deep]).1, format!("{deep} is there\n"));
    let (code, _, why) = pisup(&["remove-files", &deep]);
    assert_eq!((code, why), (1, format!("removing {deep}: is a directory\n")));
    std::fs::write(&a, "").unwrap();
    let (code, _, why) = pisup(&["make-directory", &a]);
    assert!(code == 1 && why.contains(&a), "{code} {why}");
    assert_eq!(pisup(&["remove-files"]).0, 2);
    assert_eq!(pisup(&["make-directory", "a", "b"]).0, 2);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_key_is_written_once() {
    if !is_inside("a_key_is_written_once") {
        return;
    }
    let etcd = Etcd::start(true);
    let value = r#"{"Network":"10.1.0.0/16","Backend":{"Type":"host-gw"}}"#;
    let spaced = r#"{ "Backend": { "Type": "host-gw" }, "Network": "10.1.0.0/16" }"#;
    for (api, version) in [("v2", "2"), ("v3", "3")] {
        let put = |value: &str| {
            let (code, out, err) = etcd.put(api, KEY, value);
            assert_eq!((code, err), (0, String::new()), "{api}");
            out
        };
        assert_eq!(put(value), format!("{KEY}: written\n"));
        assert_eq!(etcd.get(version), value);
        assert_eq!(put(value), format!("{KEY}: already right\n"));
        assert_eq!(put(spaced), format!("{KEY}: already right\n"));
        assert_eq!(etcd.get(version), value);
        assert_eq!(
            put(r#"{"Network":"10.2.0.0/16"}"#),
            format!("{KEY}: written, it was different\n")
        );
        assert_eq!(etcd.get(version), r#"{"Network":"10.2.0.0/16"}"#);
    }
    let (code, _, why) = etcd.put("v2", "/coreos.com/network", "{}");
    let want = "reading /coreos.com/network: the key is a directory\n";
    assert_eq!((code, why.as_str()), (1, want));
}

#[test]
fn an_etcd_without_v2_is_told() {
    if !is_inside("an_etcd_without_v2_is_told") {
        return;
    }
    let etcd = Etcd::start(false);
    let (code, _, why) = etcd.put("v2", KEY, "{}");
    let want = "this etcd has no v2 API (--enable-v2=true up to 3.5, none after)";
    assert_eq!((code, why), (1, format!("reading {KEY}: {want}\n")));
}

#[test]
fn an_etcd_that_is_not_there() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let line = ["etcd-put", "--endpoint", &endpoint, "--api=v3", "--key=/a", "--value={}"];
    let want = format!("asking etcd on 127.0.0.1:{port}: connection refused\n");
    assert_eq!(pisup(&line), (1, String::new(), want));
}

#[test]
fn bad_answers_of_an_etcd() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let line = ["etcd-put", "--endpoint", &endpoint, "--api=v3", "--key=/a", "--value={}"];
    for (reply, want) in [
        ("", "truncated reply"),
        ("SSH-2.0\r\n", "malformed reply"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "truncated reply"),
        ("HTTP/1.1 200 OK\r\n\r\n<html>", "reading /a: not the JSON document that belongs there"),
        ("HTTP/1.1 503 X\r\n\r\n{\"error\":\"no leader\"}", "etcd says: no leader (HTTP 503)"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pisup"));
        let command = command.args(line).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        // The whole request, which is smaller; unread bytes would reset the connection.
        let _ = socket.read(&mut [0; 4096]).unwrap();
        socket.write_all(reply.as_bytes()).unwrap();
        drop(socket);
        let done = child.wait_with_output().unwrap();
        let why = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{why}");
        assert!(why.contains(want) && why.lines().count() == 1, "{why}");
    }
}

/// Whether this is the inner one; otherwise runs it.
fn is_inside(test: &str) -> bool {
    if std::env::var_os("PISUP_TEST_INSIDE").is_some() {
        return true;
    }
    let works = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let silent = command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    };
    if !works("unshare", &["--net", "true"]) || !works("etcd", &["--version"]) {
        let line = format!("skipped: {test} needs root and etcd\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return false;
    }
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("PISUP_TEST_INSIDE", "1")
        .status();
    assert!(status.unwrap().success(), "{test} failed in its namespace");
    false
}

/// A real etcd.
struct Etcd {
    folder: PathBuf,
    server: Child,
}

impl Etcd {
    fn start(has_v2: bool) -> Self {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let folder = folder("etcd");
        let notify = UnixDatagram::bind(folder.join("notify")).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let peer = "http://127.0.0.1:2380";
        let server = Command::new("etcd")
            .args(["--data-dir", &folder.join("data").display().to_string()])
            .args(["--listen-client-urls=http://127.0.0.1:4001"])
            .args(["--advertise-client-urls=http://127.0.0.1:4001"])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args([format!("--initial-cluster=default={peer}"), format!("--enable-v2={has_v2}")])
            .args(["--heartbeat-interval=10", "--election-timeout=100"])
            .env("NOTIFY_SOCKET", folder.join("notify"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Self { folder, server };
        let mut datagram = [0; 100];
        let count = notify.recv(&mut datagram).unwrap();
        assert_eq!(&datagram[..count], b"READY=1");
        etcd
    }

    fn put(&self, api: &str, key: &str, value: &str) -> (i32, String, String) {
        let endpoint = "http://127.0.0.1:4001";
        let own = ["etcd-put", "--endpoint", endpoint, "--api", api, "--key", key];
        pisup(&[&own[..], &["--value", value]].concat())
    }

    /// What etcd's own client reads.
    fn get(&self, version: &str) -> String {
        let more = if version == "3" { &["--print-value-only"][..] } else { &[] };
        let done = Command::new("etcdctl")
            .args(["--endpoints", "http://127.0.0.1:4001", "get", KEY])
            .args(more)
            .env("ETCDCTL_API", version)
            .output()
            .unwrap();
        String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
