//! What comes over local sockets: clients, services, the first process.

use pisup::sys::init_link::{FRAME_BYTES, Frame, Name};
use pisup::wire::ctl::{self, FrameBuffer, Reply, Request, TooLong};
use pisup::wire::notify::{self, Message};

use super::{all_same, assert_sentence};

/// A client's bytes: lines, and what each of them asks.
pub fn request(bytes: &[u8]) {
    // A small limit for what is near it, the real one for whole requests.
    for limit in [16, ctl::REQUEST_BYTES_MAX] {
        let lines = all_same(bytes, |pieces| lines(pieces, limit));
        for line in lines.iter().flatten() {
            assert!(line.len() < limit && !line.contains(&b'\n'));
            one_request(line);
        }
    }
}

fn lines(pieces: &[&[u8]], limit: usize) -> Vec<Result<Vec<u8>, TooLong>> {
    let mut buffer = FrameBuffer::new(limit);
    let mut lines = Vec::new();
    for piece in pieces {
        buffer.feed(piece);
        lines.extend(std::iter::from_fn(|| buffer.next_line()));
    }
    let end = lines.iter().position(Result::is_err);
    assert!(end.is_none_or(|end| end + 1 == lines.len()), "a line after the last one");
    lines
}

fn one_request(line: &[u8]) {
    match Request::parse(line) {
        Ok(request) => {
            let again = request.to_line();
            let again = again.strip_suffix('\n').expect("a request is a line");
            assert!(!again.contains('\n'));
            assert_eq!(Request::parse(again.as_bytes()), Ok(request));
        }
        Err(refusal) => {
            assert!(refusal.message.len() <= 2000, "{} bytes", refusal.message.len());
            let reply = Reply::Error(refusal);
            assert_eq!(Reply::parse(reply.to_line().trim_end().as_bytes()), Ok(reply));
        }
    }
}

/// The supervisor's bytes, as its client reads them.
pub fn reply(bytes: &[u8]) {
    match Reply::parse(bytes) {
        Ok(Reply::Unknown) => {}
        Ok(reply) => {
            let line = reply.to_line();
            let line = line.strip_suffix('\n').expect("a reply is a line");
            assert!(!line.contains('\n'));
            assert_eq!(Reply::parse(line.as_bytes()), Ok(reply));
        }
        Err(sentence) => assert!(!sentence.is_empty()),
    }
}

/// What a service says of itself: each line stands alone.
pub fn notify(bytes: &[u8]) {
    let messages = notify::parse(bytes);
    if bytes.len() > notify::MAX_DATAGRAM {
        assert_eq!(messages, []);
        return;
    }
    let alone = bytes.split(|byte| *byte == b'\n').flat_map(notify::parse);
    assert!(alone.eq(messages.iter().cloned()));
    for message in &messages {
        match message {
            Message::Status(text) | Message::Nonsense(text) => {
                assert_sentence(text, notify::MAX_STATUS);
                assert!(!text.contains('\n'));
            }
            Message::MainPid(pid) | Message::ContainerPid(pid) => {
                assert!(*pid > 0 && i32::try_from(*pid).is_ok());
            }
            _ => {}
        }
    }
}

/// What is said over the link between pisup-init and the supervisor.
pub fn init_link(bytes: &[u8]) {
    for part in bytes.chunks(FRAME_BYTES) {
        // A short input is a frame too, so that the fuzzer need not guess a length first.
        let mut frame = [0; FRAME_BYTES];
        for (to, from) in frame.iter_mut().zip(part) {
            *to = *from;
        }
        assert!(part.len() == FRAME_BYTES || Frame::parse(part).is_none());
        if let Some(said) = Frame::parse(&frame) {
            assert_eq!(Frame::parse(&said.to_bytes()), Some(said));
            if let Frame::Kept(name) | Frame::Keep(name) | Frame::Drop(name) = said {
                assert_eq!(Name::new(name.text()), Some(name));
            }
        }
        let text = String::from_utf8_lossy(part);
        if let Some(name) = Name::new(&text) {
            assert_eq!(name.text(), text);
            let keep = Frame::Keep(name);
            assert_eq!(Frame::parse(&keep.to_bytes()), Some(keep));
        }
    }
}
