//! The output of a container as the engine sends it: frames of two streams in one.
//!
//! A frame is a stream number, three zeros, a length (32 bits, big end first) and so many bytes.
//! They come in pieces of any size and are handed on as they come, so that nothing is collected.

/// Where bytes of output belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// The bytes are not frames; a terminal's output is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFrames;

/// Where in a frame we are.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    head: Vec<u8>,
    /// Bytes of the frame's body that are still to come, and their stream.
    body: Option<(Stream, u32)>,
}

impl Frames {
    /// Takes the next bytes and hands on what of them is output.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut hand_on: impl FnMut(Stream, &[u8]),
    ) -> Result<(), NotFrames> {
        while let Some(first) = bytes.first() {
            if let Some((stream, left)) = self.body {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let (part, rest) = bytes.split_at_checked(count).ok_or(NotFrames)?;
                hand_on(stream, part);
                bytes = rest;
                let left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
                self.body = (left > 0).then_some((stream, left));
            } else {
                self.head.push(*first);
                bytes = bytes.get(1..).unwrap_or(&[]);
                if let [stream, 0, 0, 0, a, b, c, d] = *self.head.as_slice() {
                    // 0 is standard input, which nobody sends; engines show it as output.
                    let stream = match stream {
                        0 | 1 => Stream::Out,
                        2 => Stream::Err,
                        _ => return Err(NotFrames),
                    };
                    let len = u32::from_be_bytes([a, b, c, d]);
                    self.body = (len > 0).then_some((stream, len));
                    self.head.clear();
                } else if self.head.len() >= 8 {
                    return Err(NotFrames);
                }
            }
        }
        Ok(())
    }

    /// Whether the output may end here, between two frames.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.head.is_empty() && self.body.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(stream: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &len, body].concat()
    }

    fn read(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, bool), NotFrames> {
        let (mut out, mut err, mut frames) = (Vec::new(), Vec::new(), Frames::default());
        for piece in bytes.chunks(step) {
            frames.feed(piece, |stream, bytes| match stream {
                Stream::Out => out.extend(bytes),
                Stream::Err => err.extend(bytes),
            })?;
        }
        Ok((out, err, frames.is_whole()))
    }

    #[test]
    fn two_streams_come_apart() {
        let bytes = [frame(1, b"one\n"), frame(2, b"bad\n"), frame(1, b""), frame(1, b"two")];
        for step in [1, 3, 7, 1000] {
            let want = (b"one\ntwo".to_vec(), b"bad\n".to_vec(), true);
            assert_eq!(read(&bytes.concat(), step), Ok(want));
        }
        let cut = [frame(1, b"one"), frame(2, b"xyz")[..9].to_vec()].concat();
        assert_eq!(read(&cut, 5), Ok((b"one".to_vec(), b"x".to_vec(), false)));
    }

    #[test]
    fn text_is_not_frames() {
        assert_eq!(read(b"hello, terminal", 4), Err(NotFrames));
        assert_eq!(read(&[1, 0, 0, 1, 0, 0, 0, 0], 8), Err(NotFrames));
        assert_eq!(read(&[3, 0, 0, 0, 0, 0, 0, 0], 8), Err(NotFrames));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            step in 1_usize..20,
        ) {
            prop_assert_eq!(read(&bytes, step), read(&bytes, 1));
        }
    }
}
