//! A service that does what its command line says, one deed an argument, in order.
//!
//! `["@double", "notify READY=1", "wait"]` says that it is ready and lives until it is killed. A
//! service that is at the end of its deeds ends with exit code 0.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{IoSlice, Read, Write, stdout};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use pisup::wire::ctl::signal_number;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

/// What a service keeps until it ends.
#[derive(Default)]
struct Held {
    trap: Option<UnixStream>,
    locks: Vec<File>,
}

/// Does it all.
pub fn run(deeds: &[String]) -> ExitCode {
    let mut held = Held::default();
    for deed in deeds {
        let (verb, rest) = deed.split_once(' ').unwrap_or((deed, ""));
        match verb {
            "exit" => return ExitCode::from(number::<u8>(rest)),
            "say" => say(rest),
            "spam" => (0..number::<u32>(rest)).for_each(|n| say(&format!("line {n}"))),
            "sleep" => thread::sleep(Duration::from_millis(number(rest))),
            "wait" => loop {
                thread::park();
            },
            "session" => drop(rustix::process::setsid()),
            "fork" => fork(rest),
            "program" => program(rest),
            "die" => die(rest),
            "ignore" => ignore(rest),
            "trap" => trap(rest, &mut held),
            "await" => await_signal(&mut held),
            "await-file" => await_file(rest),
            "beat" => beat(number(rest)),
            "lock" => lock(rest, &mut held),
            "newline" => newline(number(rest)),
            verb if speak(verb, rest) || listen(verb, rest) || store(verb, rest) => {}
            _ => panic!("no such deed: {deed}"),
        }
    }
    ExitCode::SUCCESS
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.trim().parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

fn say(text: &str) {
    let mut out = stdout();
    writeln!(out, "{text}").unwrap();
    out.flush().unwrap();
}

/// Starts another one beside it, whose deeds are parted by `;`.
fn fork(deeds: &str) {
    let child = Command::new("/proc/self/exe")
        .arg("double")
        .args(deeds.split(';').map(str::trim))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // It is left to whoever reaps.
    drop(child);
}

/// Starts a program beside it.
fn program(words: &str) {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    drop(command.args(words).stdin(Stdio::null()).spawn().unwrap());
}

/// Sends itself a signal.
fn die(signal: &str) {
    let pid = rustix::process::getpid();
    let signal = i32::from(signal_number(signal).unwrap());
    let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn ignore(signal: &str) {
    let number = i32::from(signal_number(signal).unwrap());
    let flag = std::sync::Arc::default();
    signal_hook::flag::register(number, flag).unwrap();
}

fn trap(signal: &str, held: &mut Held) {
    let number = i32::from(signal_number(signal).unwrap());
    let (read, write) = UnixStream::pair().unwrap();
    signal_hook::low_level::pipe::register(number, write).unwrap();
    held.trap = Some(read);
}

/// Waits for the signal that is trapped.
fn await_signal(held: &mut Held) {
    held.trap.as_mut().unwrap().read_exact(&mut [0]).unwrap();
}

fn await_file(path: &str) {
    while !Path::new(path).exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Says that it is alive, every so many milliseconds, beside what it does else.
fn beat(every_ms: u64) {
    thread::spawn(move || {
        loop {
            send(b"WATCHDOG=1", &[]);
            thread::sleep(Duration::from_millis(every_ms));
        }
    });
}

/// Whoever comes second leaves a mark.
fn lock(path: &str, held: &mut Held) {
    let file = File::create(path).unwrap();
    let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    if rustix::fs::flock(&file, how).is_err() {
        fs::write(format!("{path}.doubled"), "").unwrap();
    }
    held.locks.push(file);
}

fn newline(fd: i32) {
    let file = File::options().write(true).open(format!("/proc/self/fd/{fd}")).unwrap();
    (&file).write_all(b"\n").unwrap();
}

/// What is said on the notify socket.
fn speak(verb: &str, rest: &str) -> bool {
    match verb {
        "notify" => send(rest.replace("\\n", "\n").as_bytes(), &[]),
        "notify-hex" => send(&from_hex(rest), &[]),
        "notify-main" => {
            let pid = fs::read_to_string(rest).unwrap();
            send(format!("MAINPID={}", pid.trim()).as_bytes(), &[]);
        }
        "notify-long" => send(&[b"READY=1\nX=", vec![b'x'; number(rest)].as_slice()].concat(), &[]),
        "notify-flood" => (0..number::<u32>(rest)).for_each(|_| send(b"X_NOTHING=1", &[])),
        "notify-descriptors" => {
            let file = File::open("/dev/null").unwrap();
            send(b"X_NOTHING=1", &vec![file.as_fd(); number(rest)]);
        }
        "barrier" => barrier(),
        _ => return false,
    }
    true
}

fn send(bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let path = std::env::var("NOTIFY_SOCKET").unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    let address = SocketAddrUnix::new(CString::new(path).unwrap()).unwrap();
    let mut space = vec![MaybeUninit::uninit(); 8192];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    sendmsg_addr(&socket, &address, &[IoSlice::new(bytes)], &mut control, SendFlags::empty())
        .unwrap();
}

/// Waits until all that it said before has been taken.
fn barrier() {
    let (mut near, far) = UnixStream::pair().unwrap();
    send(b"BARRIER=1", &[far.as_fd()]);
    drop(far);
    assert_eq!(near.read(&mut [0]).unwrap(), 0);
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// What it listens on, beside what it does else.
fn listen(verb: &str, rest: &str) -> bool {
    let (place, answer) = rest.split_once(' ').unwrap_or((rest, ""));
    let answer = answer.to_owned();
    match verb {
        "tcp" => {
            let listener = TcpListener::bind(place).unwrap();
            let _ = thread::spawn(move || listener.incoming().flatten().for_each(drop));
        }
        "unix" => {
            let listener = UnixListener::bind(place).unwrap();
            let _ = thread::spawn(move || listener.incoming().flatten().for_each(drop));
        }
        "http" => {
            let listener = TcpListener::bind(place).unwrap();
            let _ = thread::spawn(move || {
                listener.incoming().flatten().for_each(|stream| answer_http(stream, &answer));
            });
        }
        "http-unix" => {
            let listener = UnixListener::bind(place).unwrap();
            let _ = thread::spawn(move || {
                listener.incoming().flatten().for_each(|stream| answer_http(stream, &answer));
            });
        }
        "mute" => std::mem::forget(TcpListener::bind(place).unwrap()),
        "serve" => serve(number(place)),
        "serve-one" => serve_one(number(place)),
        _ => return false,
    }
    true
}

/// `200 BODY` or another status.
fn answer_http(mut stream: impl Read + Write, answer: &str) {
    let (status, body) = answer.split_once(' ').unwrap_or((answer, ""));
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        request.push(byte[0]);
    }
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body.as_bytes());
}

/// The socket that was handed down with that number. The standard library takes no number on
/// trust, so the kernel is asked for a copy.
fn inherited(fd: i32) -> UnixListener {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    UnixListener::from(pidfd_getfd(own, fd, PidfdGetfdFlags::empty()).unwrap())
}

/// Tells everyone who comes which process it is.
fn serve(fd: i32) {
    let listener = inherited(fd);
    let own = std::process::id();
    let tell = move |mut stream: UnixStream| drop(stream.write_all(format!("{own}").as_bytes()));
    thread::spawn(move || listener.incoming().flatten().for_each(tell));
}

/// The same for one, and it goes on when that is done.
fn serve_one(fd: i32) {
    let (mut stream, _) = inherited(fd).accept().unwrap();
    stream.write_all(std::process::id().to_string().as_bytes()).unwrap();
}

/// What it does to files.
fn store(verb: &str, rest: &str) -> bool {
    let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let text = text.replace("\\n", "\n").replace("%pid", &std::process::id().to_string());
    match verb {
        "write" => fs::write(path, text).unwrap(),
        "replace" => {
            let new = format!("{path}.new");
            fs::write(&new, text).unwrap();
            fs::rename(new, path).unwrap();
        }
        "append" => {
            let file = File::options().append(true).create(true).open(path);
            file.unwrap().write_all(format!("{text}\n").as_bytes()).unwrap();
        }
        "remove" => drop(fs::remove_file(path)),
        "folder" => fs::create_dir_all(path).unwrap(),
        // What one file says is what the other one will say, all at once.
        "lease" => {
            let new = format!("{text}.new");
            fs::copy(path, &new).unwrap();
            fs::rename(new, text).unwrap();
        }
        // Ends in failure once, and never again.
        "once" if Path::new(path).exists() => {}
        "once" => {
            fs::write(path, "").unwrap();
            std::process::abort();
        }
        _ => return false,
    }
    true
}
