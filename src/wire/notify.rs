//! `sd_notify` datagrams: what a service says of itself on `NOTIFY_SOCKET`.
//!
//! Every datagram stands alone; a newline at its end is optional. A key that is not known is passed
//! over without a word, since services send keys that only some supervisors know (`ERRNO`,
//! `FDSTORE`, vendor keys); a number that is none is told. Who sent it is not looked at here: that
//! is the reader's duty.
//!
//! `READY=1\nSTATUS=API up` is `[Ready, Status("API up")]`.

/// Longest datagram that is looked at, in bytes; longer ones are dropped whole. One page, as other
/// readers of this protocol have it: a reader that asks for one byte more sees what is too long.
pub const MAX_DATAGRAM: usize = 4096;

/// Longest status that is kept, in bytes: two lines of a terminal.
pub const MAX_STATUS: usize = 160;

/// One thing that a service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `READY=1`: it serves.
    Ready,
    /// `RELOADING=1`: it reads its configuration again and will say `READY=1` after that.
    Reloading,
    /// `STOPPING=1`: it is on its way out.
    Stopping,
    /// `STATUS=`: one line for people, without control characters, at most [`MAX_STATUS`] bytes.
    Status(String),
    /// `MAINPID=`: this process is the one to watch.
    MainPid(u32),
    /// `X_PISUP_CONTAINER_PID=`: the first process of the container that the sender owns.
    ContainerPid(u32),
    /// `X_PISUP_TAKEN_OVER=1`: the container of the sender is older than the sender. What it wrote
    /// or replaced when it became ready it will not write again.
    TakenOver,
    /// `WATCHDOG=1`: it is alive.
    Watchdog,
    /// `WATCHDOG=trigger`: it is not well and says so itself.
    WatchdogTrigger,
    /// `WATCHDOG_USEC=`: it wants this watchdog interval from now on, in microseconds.
    WatchdogUsec(u64),
    /// `EXTEND_TIMEOUT_USEC=`: it wants so many milliseconds more, rounded up.
    ExtendTimeoutMs(u64),
    /// `BARRIER=1`: the descriptor that came along is to be closed once all before it is done.
    Barrier,
    /// A number that is none, as it was said, like [`Message::Status`].
    Nonsense(String),
}

/// The messages of one datagram, in order.
#[must_use]
pub fn parse(datagram: &[u8]) -> Vec<Message> {
    if datagram.len() > MAX_DATAGRAM {
        return Vec::new();
    }
    datagram.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Message> {
    let line = line.trim_ascii_end();
    // C senders that count the terminator of their string.
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let at = line.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (line.get(..at)?, line.get(at + 1..)?);
    let nonsense = || Some(Message::Nonsense(status(line)));
    match (key, value) {
        (b"READY", b"1") => Some(Message::Ready),
        (b"RELOADING", b"1") => Some(Message::Reloading),
        (b"STOPPING", b"1") => Some(Message::Stopping),
        (b"STATUS", text) => Some(Message::Status(status(text))),
        (b"MAINPID", text) => pid(text).map(Message::MainPid).or_else(nonsense),
        (b"X_PISUP_CONTAINER_PID", text) => pid(text).map(Message::ContainerPid).or_else(nonsense),
        (b"X_PISUP_TAKEN_OVER", b"1") => Some(Message::TakenOver),
        (b"WATCHDOG", b"1") => Some(Message::Watchdog),
        (b"WATCHDOG", b"trigger") => Some(Message::WatchdogTrigger),
        (b"WATCHDOG_USEC", text) => number(text).map(Message::WatchdogUsec).or_else(nonsense),
        (b"EXTEND_TIMEOUT_USEC", text) => {
            let ms = number(text).map(|usec| usec.div_ceil(1000));
            ms.map(Message::ExtendTimeoutMs).or_else(nonsense)
        }
        (b"BARRIER", b"1") => Some(Message::Barrier),
        _ => None,
    }
}

fn status(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out = String::new();
    for c in clean {
        if out.len() + c.len_utf8() > MAX_STATUS {
            break;
        }
        out.push(c);
    }
    out
}

fn number(text: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn pid(text: &[u8]) -> Option<u32> {
    let pid = number(text)?;
    // The kernel's pids are positive ints.
    i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    u32::try_from(pid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bare_and_with_newline() {
        assert_eq!(parse(b"READY=1"), [Message::Ready]);
        assert_eq!(parse(b"READY=1\n"), [Message::Ready]);
        assert_eq!(parse(b"READY=1\0"), [Message::Ready]);
        assert_eq!(
            parse(b"STOPPING=1\nSTATUS=bye\n"),
            [Message::Stopping, Message::Status("bye".into())]
        );
    }

    #[test]
    fn every_key() {
        for (text, message) in [
            ("RELOADING=1", Message::Reloading),
            ("MAINPID=77", Message::MainPid(77)),
            ("X_PISUP_CONTAINER_PID=12", Message::ContainerPid(12)),
            ("X_PISUP_TAKEN_OVER=1", Message::TakenOver),
            ("WATCHDOG=1", Message::Watchdog),
            ("WATCHDOG=trigger", Message::WatchdogTrigger),
            ("WATCHDOG_USEC=3000000", Message::WatchdogUsec(3_000_000)),
            ("EXTEND_TIMEOUT_USEC=1001", Message::ExtendTimeoutMs(2)),
            ("BARRIER=1", Message::Barrier),
        ] {
            assert_eq!(parse(text.as_bytes()), [message], "{text}");
        }
    }

    #[test]
    fn what_is_not_meant_is_not_heard() {
        for bad in [
            "",
            "\n\n",
            "READY",
            "READY=",
            "READY=0",
            "READY=11",
            "ready=1",
            "XREADY=1",
            "=1",
            "WATCHDOG=2",
            "ERRNO=112",
            "FDSTORE=1\nFDNAME=a",
            "BUSERROR=org.x",
            "X_VENDOR=1",
        ] {
            assert_eq!(parse(bad.as_bytes()), [], "{bad:?}");
        }
        assert_eq!(parse(b"\xff\xfe=\x00\nERRNO=1\nREADY=1"), [Message::Ready]);
    }

    #[test]
    fn a_number_that_is_none_is_told() {
        for bad in [
            "MAINPID=0",
            "MAINPID=-4",
            "MAINPID=+4",
            "MAINPID=4294967296",
            "MAINPID=2147483648",
            "MAINPID=4x",
            "WATCHDOG_USEC=",
            "WATCHDOG_USEC=99999999999999999999",
            "EXTEND_TIMEOUT_USEC=1.5",
            "X_PISUP_CONTAINER_PID=",
        ] {
            assert_eq!(parse(bad.as_bytes()), [Message::Nonsense(bad.into())], "{bad}");
        }
    }

    #[test]
    fn oversized_is_dropped_whole() {
        let mut datagram = b"READY=1\nX=".to_vec();
        datagram.resize(MAX_DATAGRAM, b'x');
        assert_eq!(parse(&datagram), [Message::Ready]);
        datagram.push(b'x');
        assert_eq!(parse(&datagram), []);
    }

    #[test]
    fn status_is_one_clean_line() {
        let dirty = "STATUS= a\x1b[31mb\tc\u{9b}d ";
        assert_eq!(parse(dirty.as_bytes()), [Message::Status("a [31mb c d".into())]);
        assert_eq!(parse(b"STATUS=\xff!"), [Message::Status("\u{fffd}!".into())]);
        assert_eq!(parse(b"STATUS="), [Message::Status(String::new())]);
        let long = format!("STATUS={}", "ä".repeat(500));
        assert_eq!(parse(long.as_bytes()), [Message::Status("ä".repeat(MAX_STATUS / 2))]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            for message in parse(&bytes) {
                if let Message::Status(text) | Message::Nonsense(text) = message {
                    prop_assert!(text.len() <= MAX_STATUS);
                    prop_assert!(!text.contains(char::is_control));
                }
            }
        }
    }
}
