//! What pisup-init and the supervisor say to each other. This text is the reference.
//!
//! A SOCK_SEQPACKET pair, made anew for each supervisor. The supervisor gets its end as descriptor
//! 0 (nothing else is read there, and that one can be borrowed without unsafe) and `PISUP_INIT_FD`
//! says so. Neither end ever waits.
//!
//! Every frame has [`FRAME_BYTES`] bytes, numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | kind |
//! | 1 to 3 | zero |
//! | 4 to 7 | number `a` |
//! | 8 to 11 | number `b` |
//! | 12 to 95 | name, filled up with zeroes |
//!
//! | kind | from | means |
//! |---|---|---|
//! | 1 hello | init | the first frame; `a` is 1 if init is PID 1 of the machine |
//! | 2 kept | init | a descriptor that an earlier supervisor deposited as `name` comes with it |
//! | 3 exit | init | an orphan `a` has ended: `b` is its code, 256 + its signal, or 512: unknown |
//! | 4 lost | init | exits were lost: more than it holds came while nobody listened |
//! | 5 begin | init | all that an earlier supervisor left has been told |
//! | 6 ping | init | answer with pong and the same `a` |
//! | 16 pong | supervisor | its loop turns |
//! | 17 watch | supervisor | its loop turns from now on; who finds that it does not ends it |
//! | 18 keep | supervisor | hold the descriptor that comes along as `name`, not an older one |
//! | 19 drop | supervisor | close the descriptor `name` |
//! | 20 ending | supervisor | an ordered shutdown has begun; it takes at most `a` milliseconds |
//! | 21 next | supervisor | once it has ended: 1 power off, 2 reboot, 3 halt (`a`) |
//! | 22 ask | supervisor | tell all orphans that have ended by now, then begin |
//! | 23 recorded | supervisor | what came of the next `a` exits that it was told is written down |
//!
//! A descriptor named [`WATCHDOG`] is a hardware watchdog: init feeds it, but not while a
//! supervisor that it has killed does not die, and switches it off when the name is dropped.
//!
//! Hello, kept, exit and begin are in the socket before the supervisor is started, so that it
//! finds them without waiting; an exit is told to each supervisor until one has said that it is
//! recorded. A supervisor that puts another program in its place says the same to that
//! (`shell/upgrade.rs`); a descriptor named [`PROGRAM`] is the file that init starts next. Whoever
//! receives something else closes the descriptors that came with it and goes on. A supervisor that
//! ends with exit code 0 meant it, and is not started again.

use core::mem::MaybeUninit;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};

use super::{Fault, errno};
pub use crate::machine::Exit;

/// The variable that tells the supervisor which descriptor the link is.
pub const VARIABLE: &str = "PISUP_INIT_FD";

/// The name under which a hardware watchdog is kept.
pub const WATCHDOG: &str = "watchdog";

/// The name of the file that the supervisor is started from, if it is another one than init knows.
pub const PROGRAM: &str = "program";

/// What a supervisor hands over to another program in its place, beside what init keeps: the link
/// to init, the lock, the control socket, the client that asked for it, the link to the guard.
pub const LINK: &str = "link";
/// See [`LINK`].
pub const LOCK: &str = "lock";
/// See [`LINK`].
pub const CONTROL: &str = "control";
/// See [`LINK`].
pub const CLIENT: &str = "client";
/// See [`LINK`].
pub const GUARD: &str = "guard";

/// Length of every frame.
pub const FRAME_BYTES: usize = 96;

/// Descriptors that init keeps, at most.
pub const KEPT_MAX: usize = 128;

/// Longest name of a descriptor: a word, a unit's name of 63 bytes, a number.
const NAME_BYTES: usize = 84;
const NAME_AT: usize = FRAME_BYTES - NAME_BYTES;

/// Descriptors taken with one frame; the second one only to be closed.
const FDS: usize = 2;

const SIGNALLED: u32 = 256;
const UNKNOWN: u32 = 512;

/// The name of a kept descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name([u8; NAME_BYTES]);

impl Name {
    /// A name; `None` for one that is too long, empty, or has a zero in it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.is_empty() && !text.as_bytes().contains(&0)).then_some(Self(bytes))
    }

    /// The name as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        self.0.get(..end).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// What becomes of the machine when all units are down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// The power is switched off.
    Off,
    /// The machine starts anew.
    Reboot,
    /// The machine stands still.
    Halt,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first one; whether init is PID 1.
    Hello(bool),
    /// A descriptor of an earlier supervisor.
    Kept(Name),
    /// An orphan has ended.
    Exit(u32, Exit),
    /// Exits were lost.
    Lost,
    /// Nothing more of an earlier supervisor follows.
    Begin,
    /// To be answered.
    Ping(u32),
    /// The answer.
    Pong(u32),
    /// Its loop is to be watched.
    Watch,
    /// Hold this descriptor.
    Keep(Name),
    /// Close that descriptor.
    Drop(Name),
    /// A shutdown has begun, and takes so many milliseconds at most.
    Ending(u32),
    /// What comes after it.
    Next(Power),
    /// Tell who has ended by now.
    Ask,
    /// So many more of the exits that were told need not be told again.
    Recorded(u32),
}

impl Frame {
    /// The frame as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FRAME_BYTES] {
        let (kind, a, b, name) = match *self {
            Self::Hello(is_pid_1) => (1, u32::from(is_pid_1), 0, None),
            Self::Kept(name) => (2, 0, 0, Some(name)),
            Self::Exit(pid, exit) => (3, pid, exit_number(exit), None),
            Self::Lost => (4, 0, 0, None),
            Self::Begin => (5, 0, 0, None),
            Self::Ping(number) => (6, number, 0, None),
            Self::Pong(number) => (16, number, 0, None),
            Self::Watch => (17, 0, 0, None),
            Self::Keep(name) => (18, 0, 0, Some(name)),
            Self::Drop(name) => (19, 0, 0, Some(name)),
            Self::Ending(ms) => (20, ms, 0, None),
            Self::Next(Power::Off) => (21, 1, 0, None),
            Self::Next(Power::Reboot) => (21, 2, 0, None),
            Self::Next(Power::Halt) => (21, 3, 0, None),
            Self::Ask => (22, 0, 0, None),
            Self::Recorded(count) => (23, count, 0, None),
        };
        let mut bytes = [0; FRAME_BYTES];
        let name = name.map_or([0; NAME_BYTES], |name| name.0);
        let parts = [kind, 0, 0, 0].into_iter().chain(a.to_le_bytes()).chain(b.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(parts.chain(name)) {
            *to = from;
        }
        bytes
    }

    /// The frame that these bytes are; `None` for anything else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FRAME_BYTES] = bytes.try_into().ok()?;
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let (kind, a, b) = (number(0)?, number(4)?, number(8)?);
        let name = || {
            let text = core::str::from_utf8(bytes.get(NAME_AT..)?).ok()?;
            Name::new(text.trim_end_matches('\0'))
        };
        Some(match kind {
            1 => Self::Hello(flag(a)?),
            2 => Self::Kept(name()?),
            3 => Self::Exit(a, exit_of(b)?),
            4 => Self::Lost,
            5 => Self::Begin,
            6 => Self::Ping(a),
            16 => Self::Pong(a),
            17 => Self::Watch,
            18 => Self::Keep(name()?),
            19 => Self::Drop(name()?),
            20 => Self::Ending(a),
            21 => Self::Next(match a {
                1 => Power::Off,
                2 => Power::Reboot,
                3 => Power::Halt,
                _ => return None,
            }),
            22 => Self::Ask,
            23 => Self::Recorded(a),
            _ => return None,
        })
    }
}

const fn flag(number: u32) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn exit_number(exit: Exit) -> u32 {
    match exit {
        Exit::Code(code) => u32::from(code),
        Exit::Signal(signal) => SIGNALLED + u32::from(signal),
        Exit::Unknown => UNKNOWN,
    }
}

fn exit_of(number: u32) -> Option<Exit> {
    let small = |number: u32| u8::try_from(number).ok();
    match number {
        UNKNOWN => Some(Exit::Unknown),
        SIGNALLED..UNKNOWN => small(number - SIGNALLED).map(Exit::Signal),
        _ => small(number).map(Exit::Code),
    }
}

/// What one look at the link found.
#[derive(Debug)]
pub enum Heard {
    /// A frame, and the descriptor that came with it.
    Frame(Frame, Option<OwnedFd>),
    /// Something that is no frame.
    Nonsense,
    /// Nothing now.
    Nothing,
    /// The other side is gone.
    End,
}

/// One end.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Both ends: init's, and the one for the supervisor.
    ///
    /// # Errors
    ///
    /// No descriptors are left.
    pub fn pair() -> Result<(Self, OwnedFd), Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(near), far))
    }

    /// An end that came over another link.
    #[must_use]
    pub const fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The supervisor's end, if there is one; standard input is `/dev/null` after that, and no
    /// child inherits the link.
    ///
    /// # Errors
    ///
    /// There is one, and no descriptor for it.
    pub fn inherited() -> Result<Option<Self>, Fault> {
        if std::env::var_os(VARIABLE).is_none_or(|value| value != "0") {
            return Ok(None);
        }
        let stdin = std::io::stdin();
        if sockopt::socket_type(&stdin).ok() != Some(SocketType::SEQPACKET) {
            return Ok(None);
        }
        let fault = Fault::of("taking", "the link to pisup-init");
        let link = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).map_err(&fault)?;
        let null = std::fs::File::open("/dev/null").map_err(|error| fault(errno(&error)))?;
        rustix::stdio::dup2_stdin(&null).map_err(&fault)?;
        Ok(Some(Self(link)))
    }

    /// Says something, with a descriptor; `false` when there is no room for it now.
    ///
    /// # Errors
    ///
    /// The other side is gone.
    pub fn say(&self, frame: &Frame, fd: Option<BorrowedFd<'_>>) -> Result<bool, Errno> {
        let bytes = frame.to_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.as_slice();
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Ok(false);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, flags) {
            Ok(_) => Ok(true),
            // Too many descriptors under way is a want of room, too.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::TOOMANYREFS) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Takes one message; never waits.
    #[must_use]
    pub fn hear(&self) -> Heard {
        // One byte more than a frame, so that a longer one is seen to be.
        let mut bytes = [0; FRAME_BYTES + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
                Ok(received) => break received,
                Err(Errno::AGAIN) => return Heard::Nothing,
                // Told once when the other side died without reading everything; what it had
                // said before is still there.
                Err(Errno::CONNRESET | Errno::INTR) => {}
                Err(_) => return Heard::End,
            }
        };
        let mut fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let mut first = None;
        let mut count = 0;
        for fd in fds.by_ref().flatten() {
            count += 1;
            first = first.or(Some(fd));
        }
        let is_cut = received.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC);
        match bytes.get(..received.bytes).and_then(Frame::parse) {
            // An empty message looks like the end, and whoever sends one deserves it.
            _ if received.bytes == 0 => Heard::End,
            Some(frame) if count <= 1 && !is_cut => Heard::Frame(frame, first),
            _ => Heard::Nonsense,
        }
    }
}

impl AsFd for Link {
    /// Readable when something was said.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn all() -> Vec<Frame> {
        let exits = [Exit::Code(0), Exit::Code(255), Exit::Signal(9), Exit::Unknown];
        let mut all: Vec<Frame> = exits.map(|exit| Frame::Exit(4_194_304, exit)).to_vec();
        all.extend([Power::Off, Power::Reboot, Power::Halt].map(Frame::Next));
        all.extend([Frame::Hello(true), Frame::Hello(false), Frame::Lost, Frame::Begin]);
        all.extend([Frame::Ping(7), Frame::Pong(u32::MAX), Frame::Watch]);
        let long = "x".repeat(NAME_BYTES);
        all.extend([Frame::Keep(name("log/a")), Frame::Kept(name(&long)), Frame::Ending(120_000)]);
        all.extend([Frame::Drop(name("socket/a/0")), Frame::Ask, Frame::Recorded(3)]);
        all
    }

    #[test]
    fn frames_survive_the_link() {
        let (near, far) = Link::pair().unwrap();
        let far = Link(far);
        for frame in all() {
            assert_eq!(near.say(&frame, None), Ok(true));
            assert!(matches!(far.hear(), Heard::Frame(same, None) if same == frame), "{frame:?}");
        }
        assert!(matches!(far.hear(), Heard::Nothing));
        drop(near);
        assert!(matches!(far.hear(), Heard::End));
        assert!(far.say(&Frame::Begin, None).is_err());
    }

    #[test]
    fn the_last_words_of_one_who_did_not_listen_count() {
        let (near, far) = Link::pair().unwrap();
        let far = Link(far);
        near.say(&Frame::Exit(1, Exit::Unknown), None).unwrap();
        far.say(&Frame::Next(Power::Off), None).unwrap();
        drop(far);
        assert!(matches!(near.hear(), Heard::Frame(Frame::Next(Power::Off), None)));
        assert!(matches!(near.hear(), Heard::End));
    }

    #[test]
    fn names_are_bounded() {
        for bad in ["", "a\0b", &"x".repeat(NAME_BYTES + 1)] {
            assert_eq!(Name::new(bad), None);
        }
        assert_eq!(name("log/docker").text(), "log/docker");
    }

    #[test]
    fn a_descriptor_comes_along_and_more_than_one_is_nonsense() {
        let (near, far) = Link::pair().unwrap();
        let (one, two) = rustix::pipe::pipe().unwrap();
        let far = Link(far);
        near.say(&Frame::Keep(name("pipe")), Some(two.as_fd())).unwrap();
        drop(two);
        let Heard::Frame(Frame::Keep(_), Some(copy)) = far.hear() else { panic!() };
        assert!(rustix::io::fcntl_getfd(&copy).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        rustix::io::write(&copy, b"x").unwrap();
        for count in [2, 3, 50] {
            let mut space = vec![MaybeUninit::uninit(); 4096];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let copies = vec![copy.as_fd(); count];
            assert!(control.push(SendAncillaryMessage::ScmRights(&copies)));
            let bytes = Frame::Keep(name("pipe")).to_bytes();
            let empty = SendFlags::empty();
            sendmsg(&near, &[IoSlice::new(&bytes)], &mut control, empty).unwrap();
            assert!(matches!(far.hear(), Heard::Nonsense), "{count}");
        }
        drop(copy);
        // Every copy is closed: after the byte there is the end.
        assert_eq!(rustix::io::read(&one, &mut [0; 9]), Ok(1));
        assert_eq!(rustix::io::read(&one, &mut [0; 9]), Ok(0));
    }

    #[test]
    fn a_full_link_does_not_wait() {
        let (near, _far) = Link::pair().unwrap();
        let mut count = 0;
        while near.say(&Frame::Ping(1), None).unwrap() {
            count += 1;
        }
        // What init puts there before a supervisor starts has to fit.
        assert!(count > KEPT_MAX + 128 + 3, "{count}");
    }

    #[test]
    fn what_is_no_frame_is_told_and_survived() {
        let (near, far) = Link::pair().unwrap();
        let far = Link(far);
        for bytes in [vec![1], vec![1; FRAME_BYTES], vec![0; 5000]] {
            rustix::net::send(&near, &bytes, SendFlags::empty()).unwrap();
            assert!(matches!(far.hear(), Heard::Nonsense));
        }
        near.say(&Frame::Begin, None).unwrap();
        assert!(matches!(far.hear(), Heard::Frame(Frame::Begin, None)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(frame) = Frame::parse(&bytes) {
                prop_assert_eq!(Frame::parse(&frame.to_bytes()), Some(frame));
            }
        }

        #[test]
        fn a_damaged_frame_never_panics(
            which in any::<prop::sample::Index>(), at in 0..FRAME_BYTES, byte in any::<u8>(),
        ) {
            let all = all();
            let mut bytes = which.get(&all).to_bytes();
            bytes[at] = byte;
            if let Some(frame) = Frame::parse(&bytes) {
                prop_assert_eq!(Frame::parse(&frame.to_bytes()), Some(frame));
            }
        }
    }
}
