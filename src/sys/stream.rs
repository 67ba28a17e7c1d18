//! Bytes through descriptors, without ever waiting for the other side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with};

use super::Fault;

/// What a pipe takes whole or not at all (PIPE_BUF): a pipe that can be written has room for it.
pub const PIPE_BYTES: usize = 4096;

/// Bytes that may be on their way to a child: some seconds of a talkative service.
const ON_ITS_WAY_BYTES: usize = 256 * 1024;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes; at least one.
    Bytes(usize),
    /// The end: the other side will say nothing more.
    End,
    /// Nothing yet.
    Later,
}

/// A pipe: our end never waits, the other is an ordinary one for a child.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Fault> {
    let fault = Fault::of("making", "a pipe");
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(&fault)?;
    // The two ends have flags of their own, so this is not felt by who writes.
    rustix::io::ioctl_fionbio(&reader, true).map_err(&fault)?;
    Ok((reader, writer))
}

/// The same the other way: a child reads an ordinary end, and writing to it never waits. Its size
/// is what may be on its way.
pub fn pipe_to_child() -> Result<(OwnedFd, OwnedFd), Fault> {
    let fault = Fault::of("making", "a pipe");
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(&fault)?;
    rustix::io::ioctl_fionbio(&writer, true).map_err(&fault)?;
    // Where that is too much for this user, the usual 64 KiB have to do.
    let _ = fcntl_setpipe_size(&writer, ON_ITS_WAY_BYTES);
    Ok((reader, writer))
}

/// Writes what there is room for in a pipe of ours; 0 when there is none now.
pub fn write(pipe: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    taken(rustix::io::write(pipe, bytes))
}

/// Another writing end of the pipe that `reader` is the end of, an
/// ordinary one for a child.
///
/// It reads, too, though nobody does: so the pipe is never without a reader, and who writes while
/// there is no supervisor waits for the next one, instead of dying of SIGPIPE.
pub fn writer_of(reader: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
    let fault = Fault::of("writing to", "a kept pipe");
    let kind = FileType::from_raw_mode(fstat(reader).map_err(&fault)?.st_mode);
    if kind != FileType::Fifo {
        return Err(fault(Errno::INVAL));
    }
    let path = rustix::path::DecInt::from_fd(reader);
    let path = format!("/proc/self/fd/{}", path.as_str());
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(CWD, path, flags, Mode::empty()).map_err(&fault)
}

/// The end that a supervisor reads of the pipe that is a process's standard output, if the one
/// before made that pipe: of all pipes only such are open for both ([`writer_of`]).
#[must_use]
pub fn reader_of_output(pid: u32) -> Option<OwnedFd> {
    let path = format!("/proc/{pid}/fd/1");
    let access = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/1")).ok()?;
    let flags = access.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
    if flags & OFlags::ACCMODE.bits() != OFlags::RDWR.bits() {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let is_pipe = |fd: &OwnedFd| {
        fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
    };
    // Looked at before it is opened: to open a device can be felt.
    let seen = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    if !is_pipe(&seen) {
        return None;
    }
    openat(CWD, &path, flags, Mode::empty()).ok().filter(is_pipe)
}

/// Shows what is in a pipe and leaves it there; how many bytes.
pub fn peek(pipe: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    rustix::pipe::tee(pipe, &writer, buffer.len(), SpliceFlags::NONBLOCK)?;
    rustix::io::read(&reader, buffer)
}

/// Takes what is there of a descriptor that does not block.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<Got, Errno> {
    match rustix::io::read(fd, buffer) {
        Ok(0) => Ok(Got::End),
        Ok(count) => Ok(Got::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Got::Later),
        Err(errno) => Err(errno),
    }
}

/// Sends what there is room for on a socket, blocking or not, and never raises SIGPIPE; 0 when
/// there is none now.
pub fn send(socket: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    taken(rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
}

/// A descriptor of somebody else's, such as standard error, written without waiting and without
/// changing how it behaves for the others who have it.
#[derive(Debug)]
pub struct Sink {
    fd: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Never waits by itself: a file, a device without an end.
    Free,
    /// Ours alone and marked not to wait.
    Own,
    /// Shared: asked before each write.
    Shared,
    /// A socket, which can be told with each call.
    Socket,
}

impl Sink {
    /// Standard error.
    pub fn stderr() -> Result<Self, Fault> {
        Self::of(std::io::stderr().as_fd())
    }

    /// A sink into the same place as `fd`.
    pub fn of(fd: BorrowedFd<'_>) -> Result<Self, Fault> {
        let fault = Fault::of("using", "standard error");
        let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(&fault)?;
        let stat = fstat(&copy).map_err(&fault)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => Kind::Socket,
            // Opened anew, a pipe or terminal has flags that nobody else feels.
            FileType::Fifo | FileType::CharacterDevice => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let path = rustix::path::DecInt::from_fd(&copy);
                let path = format!("/proc/self/fd/{}", path.as_str());
                match openat(CWD, path, flags, Mode::empty()) {
                    Ok(fd) => return Ok(Self { fd, kind: Kind::Own }),
                    Err(_) => Kind::Shared,
                }
            }
            _ => Kind::Free,
        };
        Ok(Self { fd: copy, kind })
    }

    /// Writes what there is room for; 0 when there is none now.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self.kind {
            Kind::Free | Kind::Own => taken(rustix::io::write(&self.fd, bytes)),
            Kind::Socket => send(self.fd.as_fd(), bytes),
            Kind::Shared => {
                let fds = &mut [rustix::event::PollFd::new(&self.fd, POLL_OUT)];
                match rustix::event::poll(fds, Some(&NOW)) {
                    Ok(0) | Err(Errno::INTR) => Ok(0),
                    Ok(_) => {
                        let room = bytes.get(..PIPE_BYTES).unwrap_or(bytes);
                        taken(rustix::io::write(&self.fd, room))
                    }
                    Err(errno) => Err(errno),
                }
            }
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const POLL_OUT: rustix::event::PollFlags = rustix::event::PollFlags::OUT;

const NOW: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };

fn taken(result: Result<usize, Errno>) -> Result<usize, Errno> {
    match result {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::super::files::tests::TempDir;
    use super::*;

    #[test]
    fn what_is_shown_stays_in_the_pipe() {
        let (reader, writer) = pipe().unwrap();
        assert_eq!(peek(&reader, &mut [0; 9]), Err(Errno::AGAIN));
        rustix::io::write(&writer, b"ab\n").unwrap();
        let mut bytes = [0; 9];
        assert_eq!(peek(&reader, &mut bytes), Ok(3));
        assert_eq!(peek(&reader, &mut bytes[..2]), Ok(2));
        assert_eq!((read(&reader, &mut bytes), &bytes[..3]), (Ok(Got::Bytes(3)), &b"ab\n"[..]));
    }

    #[test]
    fn a_pipe_never_holds_the_reader_up() {
        let (reader, writer) = pipe().unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read(&reader, &mut buffer), Ok(Got::Later));
        rustix::io::write(&writer, b"abc").unwrap();
        assert_eq!(read(&reader, &mut buffer), Ok(Got::Bytes(3)));
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK), "the child's end is an ordinary one");
        drop(writer);
        assert_eq!(read(&reader, &mut buffer), Ok(Got::End));
    }

    #[test]
    fn a_pipe_gets_another_writer() {
        let (reader, writer) = pipe().unwrap();
        let other = writer_of(reader.as_fd()).unwrap();
        drop(writer);
        rustix::io::write(&other, b"abc").unwrap();
        assert_eq!(read(&reader, &mut [0; 16]), Ok(Got::Bytes(3)));
        let flags = rustix::fs::fcntl_getfl(&other).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK), "a child gets it");
        drop(reader);
        rustix::io::write(&other, b"nobody hears it now, and that is no error").unwrap();
        assert!(writer_of(std::fs::File::open("/proc/self/stat").unwrap().as_fd()).is_err());
    }

    #[test]
    fn only_output_that_a_supervisor_gave_is_taken_over() {
        let (reader, plain) = pipe().unwrap();
        let ours = writer_of(reader.as_fd()).unwrap();
        drop(reader);
        let talk = |output: OwnedFd| {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "echo one; read line; echo two; read line"]);
            command.stdin(std::process::Stdio::piped()).stdout(output).spawn().unwrap()
        };
        let mut child = talk(ours);
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let reader = loop {
            // Until it has executed: before that its output is ours.
            if let Some(reader) = reader_of_output(child.id()) {
                break reader;
            }
        };
        let mut text = Vec::new();
        while text.len() < 8 {
            let mut buffer = [0; 16];
            if let Ok(Got::Bytes(count)) = read(&reader, &mut buffer) {
                text.extend_from_slice(&buffer[..count]);
            }
        }
        assert_eq!(text, b"one\ntwo\n");
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        child.wait().unwrap();
        assert!(reader_of_output(child.id()).is_none(), "it is gone");

        drop(plain);
        let (_reader, plain) = pipe().unwrap();
        let mut child = talk(plain);
        assert!(reader_of_output(child.id()).is_none(), "a pipe of its own");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_socket_never_holds_the_sender_up() {
        let (near, far) = UnixStream::pair().unwrap();
        while send(&near, &[0; 4096]).unwrap() > 0 {}
        assert_eq!(read(&far, &mut [0; 9]), Ok(Got::Bytes(9)));
        drop(far);
        assert_eq!(send(&near, b"x"), Err(Errno::PIPE));
    }

    fn fill(sink: &Sink) -> usize {
        let mut bytes = 0;
        loop {
            match sink.write(&[b'x'; 10_000]).unwrap() {
                0 => return bytes,
                count => bytes += count,
            }
        }
    }

    #[test]
    fn a_full_pipe_or_socket_does_not_hold_a_sink_up() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let sink = Sink::of(writer.as_fd()).unwrap();
        assert_eq!(sink.kind, Kind::Own);
        assert!(fill(&sink) >= PIPE_BYTES);
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK));
        drop(reader);
        assert_eq!(sink.write(b"x"), Err(Errno::PIPE));

        let (_near, far) = UnixStream::pair().unwrap();
        let sink = Sink::of(far.as_fd()).unwrap();
        assert_eq!(sink.kind, Kind::Socket);
        assert!(fill(&sink) > 0);
    }

    #[test]
    fn a_shared_pipe_is_asked_first() {
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let sink = Sink { fd: writer, kind: Kind::Shared };
        assert!(fill(&sink) >= PIPE_BYTES);
    }

    #[test]
    fn a_file_is_written_where_the_others_write() {
        let dir = TempDir::new("sink");
        let path = dir.path().join("log");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"before ").unwrap();
        let sink = Sink::of(file.as_fd()).unwrap();
        assert_eq!(sink.write(b"ours "), Ok(5));
        file.write_all(b"after").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before ours after");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(Sink::of(full.as_fd()).unwrap().write(b"x"), Err(Errno::NOSPC));
    }
}
