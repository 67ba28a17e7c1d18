//! Bytes through pipes and connections.

use super::fd::{self, AsFd, BorrowedFd, OwnedFd, SHORT, hand_out};
use super::{Errno, Fault, enter};
use crate::world::kernel::Thing;
use crate::world::{self, World};

pub use pisup::sys::stream::{Got, PIPE_BYTES};

const PIPE_ROOM: usize = 64 * 1024;
const ON_ITS_WAY_BYTES: usize = 256 * 1024;

pub fn pipe() -> Result<(OwnedFd, OwnedFd), Fault> {
    pipe_of(PIPE_ROOM)
}

pub fn pipe_to_child() -> Result<(OwnedFd, OwnedFd), Fault> {
    pipe_of(ON_ITS_WAY_BYTES)
}

fn pipe_of(room: usize) -> Result<(OwnedFd, OwnedFd), Fault> {
    enter(&SHORT).map_err(Fault::of("making", "a pipe"))?;
    Ok(world::with(|world| {
        let (reader, writer) = world.kernel.pipe(room);
        (hand_out(world, reader), hand_out(world, writer))
    }))
}

pub fn write(pipe: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    taken(enter(&[Errno::AGAIN, Errno::INTR]).and_then(|()| {
        fd::look(pipe.as_fd(), |world, id| match world.kernel.writes(id) {
            Some(pipe) => world.write_pipe(pipe, bytes),
            None => Err(Errno::BADF),
        })
    }))
}

pub fn writer_of(reader: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
    let fault = Fault::of("writing to", "a kept pipe");
    enter(&SHORT).map_err(&fault)?;
    let made = fd::look(reader, |world, id| match world.kernel.get(id) {
        Some(Thing::Reader(pipe)) => {
            let pipe = *pipe;
            let id = world.kernel.make(Thing::Both(pipe));
            Ok(hand_out(world, id))
        }
        _ => Err(Errno::INVAL),
    });
    made.map_err(fault)
}

pub fn reader_of_output(pid: u32) -> Option<OwnedFd> {
    enter(&SHORT).ok()?;
    world::with(|world| {
        let id = world.proc_of(pid)?.stdout?;
        let Some(Thing::Both(pipe)) = world.kernel.get(id) else {
            return None;
        };
        let pipe = *pipe;
        let id = world.kernel.make(Thing::Reader(pipe));
        Some(hand_out(world, id))
    })
}

pub fn peek(pipe: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    enter(&SHORT)?;
    fd::look(pipe.as_fd(), |world, id| match world.kernel.get(id) {
        Some(Thing::Reader(pipe)) => {
            let bytes = &world.kernel.pipes[*pipe].bytes;
            let count = bytes.len().min(buffer.len());
            if count == 0 && world.kernel.pipes[*pipe].writers > 0 {
                return Err(Errno::AGAIN);
            }
            buffer.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            Ok(count)
        }
        _ => Err(Errno::BADF),
    })
}

pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<Got, Errno> {
    match enter(&[Errno::AGAIN, Errno::INTR]) {
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Got::Later),
        other => other?,
    }
    take(fd, buffer)
}

/// The same, by whoever has made a call of it.
pub fn take(fd: impl AsFd, buffer: &mut [u8]) -> Result<Got, Errno> {
    fd::look(fd.as_fd(), |world, id| match world.kernel.get(id) {
        Some(Thing::Reader(pipe)) => {
            let pipe = *pipe;
            Ok(read_pipe(world, pipe, buffer))
        }
        Some(Thing::Stream(conn)) => {
            let conn = *conn;
            world.conns[conn].read(buffer)
        }
        _ => Err(Errno::BADF),
    })
}

fn read_pipe(world: &mut World, pipe: usize, buffer: &mut [u8]) -> Got {
    let pipe = &mut world.kernel.pipes[pipe];
    let count = pipe.bytes.len().min(buffer.len());
    if count == 0 {
        return if pipe.writers == 0 { Got::End } else { Got::Later };
    }
    for (to, from) in buffer.iter_mut().zip(pipe.bytes.drain(..count)) {
        *to = from;
    }
    Got::Bytes(count)
}

pub fn send(socket: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    taken(enter(&[Errno::AGAIN, Errno::INTR, Errno::NOBUFS]).and_then(|()| {
        fd::look(socket.as_fd(), |world, id| match world.kernel.get(id) {
            Some(Thing::Stream(conn)) => {
                let conn = *conn;
                world.send(conn, bytes)
            }
            _ => Err(Errno::BADF),
        })
    }))
}

/// Standard error.
#[derive(Debug)]
pub struct Sink(OwnedFd);

impl Sink {
    pub fn stderr() -> Result<Self, Fault> {
        let sink = fd::open(|_| Thing::Sink).map_err(Fault::of("using", "standard error"));
        sink.map(Self)
    }

    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        taken(enter(&[Errno::AGAIN, Errno::NOSPC, Errno::PIPE]).and_then(|()| {
            world::with(|world| {
                world.journal(bytes);
                if world.is_sink_full { Err(Errno::AGAIN) } else { Ok(bytes.len()) }
            })
        }))
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn taken(result: Result<usize, Errno>) -> Result<usize, Errno> {
    match result {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        result => result,
    }
}
