//! What descriptors lead to: open things with a count of who holds them, and when they are ready.

use std::collections::VecDeque;

use crate::sys::Errno;
use crate::sys::inotify::{Change, Watch};
use crate::sys::notify_socket::Datagram;
use crate::sys::poll::{Interest, MAX_READY, Ready};

use super::World;

/// Something that is open; known by its number, which is never given twice in one history.
pub type Id = usize;

/// What can be open.
#[derive(Debug)]
pub enum Thing {
    Epoll(Vec<Watched>),
    Reader(usize),
    Writer(usize),
    /// Open for both, so that the pipe is never without a reader.
    Both(usize),
    /// The supervisor's end of a connection.
    Stream(usize),
    Listener(Listener),
    Datagrams(VecDeque<Datagram>),
    Link,
    /// Of a socket pair: which, and which end.
    End(usize, usize),
    Pidfd(u64),
    Inotify(Notices),
    /// Wall clock: when it rings, in milliseconds, and whether it was set.
    Alarm(i64, bool),
    /// Routes: whether they have changed.
    Monitor(bool),
    /// Of the unit's group: whether it may have become empty.
    Emptied(String, bool),
    Report(u64),
    Signals,
    Sink,
    Lock,
    Watchdog,
    Segment,
}

impl Thing {
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Epoll(_) => "epoll",
            Self::Reader(_) => "reader",
            Self::Writer(_) | Self::Both(_) => "writer",
            Self::Stream(_) => "stream",
            Self::Listener(_) => "listener",
            Self::Datagrams(_) => "datagrams",
            Self::Link => "link",
            Self::End(..) => "end",
            Self::Pidfd(_) => "pidfd",
            Self::Inotify(_) => "inotify",
            Self::Alarm(..) => "alarm",
            Self::Monitor(_) => "monitor",
            Self::Emptied(..) => "emptied",
            Self::Report(_) => "report",
            Self::Signals => "signals",
            Self::Sink => "sink",
            Self::Lock => "lock",
            Self::Watchdog => "watchdog",
            Self::Segment => "segment",
        }
    }
}

#[derive(Debug)]
pub struct Watched {
    pub id: Id,
    pub token: u64,
    pub interest: Interest,
}

#[derive(Debug, Default)]
pub struct Listener {
    /// A path or an address.
    pub name: String,
    pub backlog: VecDeque<usize>,
}

#[derive(Debug, Default)]
pub struct Notices {
    /// Directories, by the number of their watch; `None` is over.
    pub watches: Vec<Option<String>>,
    pub queue: VecDeque<(Watch, Change)>,
    pub is_overflown: bool,
    pub is_nudged: bool,
}

#[derive(Debug)]
pub struct Open {
    pub thing: Thing,
    pub holders: u32,
}

#[derive(Debug)]
pub struct Pipe {
    pub bytes: VecDeque<u8>,
    pub room: usize,
    pub readers: u32,
    pub writers: u32,
}

/// All that is open.
#[derive(Debug, Default)]
pub struct Kernel {
    pub open: Vec<Option<Open>>,
    /// The supervisor's descriptors; a number is never given twice.
    pub fds: Vec<Option<Id>>,
    pub pipes: Vec<Pipe>,
}

impl Kernel {
    pub fn get(&self, id: Id) -> Option<&Thing> {
        self.open.get(id)?.as_ref().map(|open| &open.thing)
    }

    pub fn get_mut(&mut self, id: Id) -> Option<&mut Thing> {
        self.open.get_mut(id)?.as_mut().map(|open| &mut open.thing)
    }

    /// The things that the supervisor holds, once for each descriptor.
    pub fn held(&self) -> impl Iterator<Item = &Thing> {
        self.fds.iter().flatten().filter_map(|id| self.get(*id))
    }

    /// Opens something that nobody holds yet.
    pub fn make(&mut self, thing: Thing) -> Id {
        match &thing {
            Thing::Reader(pipe) => self.pipes[*pipe].readers += 1,
            Thing::Writer(pipe) => self.pipes[*pipe].writers += 1,
            Thing::Both(pipe) => {
                self.pipes[*pipe].readers += 1;
                self.pipes[*pipe].writers += 1;
            }
            _ => {}
        }
        self.open.push(Some(Open { thing, holders: 0 }));
        self.open.len() - 1
    }

    /// A descriptor of the supervisor for it.
    pub fn fd_of(&mut self, id: Id) -> usize {
        self.hold(id);
        self.fds.push(Some(id));
        self.fds.len() - 1
    }

    pub fn pipe(&mut self, room: usize) -> (Id, Id) {
        let pipe = Pipe { bytes: VecDeque::new(), room, readers: 0, writers: 0 };
        self.pipes.push(pipe);
        let pipe = self.pipes.len() - 1;
        (self.make(Thing::Reader(pipe)), self.make(Thing::Writer(pipe)))
    }

    /// The pipe that can be written through it.
    pub fn writes(&self, id: Id) -> Option<usize> {
        match self.get(id)? {
            Thing::Writer(pipe) | Thing::Both(pipe) => Some(*pipe),
            _ => None,
        }
    }

    pub fn hold(&mut self, id: Id) {
        if let Some(Some(open)) = self.open.get_mut(id) {
            open.holders += 1;
        }
    }

    /// Lets go; what nobody holds is gone, and no epoll knows it any more.
    pub fn release(&mut self, id: Id) -> Option<Thing> {
        let slot = self.open.get_mut(id)?;
        let open = slot.as_mut()?;
        open.holders -= 1;
        if open.holders > 0 {
            return None;
        }
        let thing = slot.take()?.thing;
        match &thing {
            Thing::Reader(pipe) => self.pipes[*pipe].readers -= 1,
            Thing::Writer(pipe) => self.pipes[*pipe].writers -= 1,
            Thing::Both(pipe) => {
                self.pipes[*pipe].readers -= 1;
                self.pipes[*pipe].writers -= 1;
            }
            _ => {}
        }
        for each in self.open.iter_mut().flatten() {
            if let Thing::Epoll(watched) = &mut each.thing {
                watched.retain(|watched| watched.id != id);
            }
        }
        Some(thing)
    }
}

impl World {
    /// The thing behind a descriptor of the supervisor.
    pub fn id(&mut self, fd: usize) -> Result<Id, Errno> {
        match self.kernel.fds.get(fd).copied().flatten() {
            Some(id) => Ok(id),
            None => {
                if !self.is_dead {
                    self.fail(format!("descriptor {fd} was used after it was closed"));
                }
                Err(Errno::BADF)
            }
        }
    }

    /// Closes a descriptor of the supervisor.
    pub fn close(&mut self, fd: usize) {
        if let Some(id) = self.kernel.fds.get_mut(fd).and_then(Option::take) {
            self.let_go(id);
        }
    }

    /// Lets go of something, with what its end means to others.
    pub fn let_go(&mut self, id: Id) {
        match self.kernel.release(id) {
            Some(Thing::Stream(conn)) => {
                self.conns[conn].is_ours_open = false;
                if let Some(client) = self.conns[conn].client {
                    self.at(1, super::Event::Client(client));
                }
            }
            Some(Thing::Writer(pipe)) if self.kernel.pipes[pipe].writers == 0 => {
                self.wake_log_writer(pipe);
            }
            Some(Thing::End(pair, side)) => self.pair_closed((pair, side)),
            Some(Thing::Listener(listener)) => {
                for conn in listener.backlog {
                    self.conns[conn].is_ours_open = false;
                    if let Some(client) = self.conns[conn].client {
                        self.at(1, super::Event::Client(client));
                    }
                }
            }
            _ => {}
        }
    }

    /// Readable, writable, in error.
    fn readiness(&self, id: Id) -> (bool, bool, bool) {
        let Some(thing) = self.kernel.get(id) else {
            return (false, false, false);
        };
        let wall = self.wall();
        match thing {
            Thing::Reader(pipe) => {
                let pipe = &self.kernel.pipes[*pipe];
                (!pipe.bytes.is_empty(), false, pipe.writers == 0)
            }
            Thing::Writer(pipe) | Thing::Both(pipe) => {
                let pipe = &self.kernel.pipes[*pipe];
                (false, pipe.room >= pipe.bytes.len() + 4096, pipe.readers == 0)
            }
            Thing::Stream(conn) => self.conns[*conn].readiness(),
            Thing::Listener(listener) => (!listener.backlog.is_empty(), false, false),
            Thing::Datagrams(queue) => (!queue.is_empty(), true, false),
            Thing::Link => (!self.init.to_supervisor.is_empty(), true, false),
            Thing::End(pair, side) => self.pair_readiness((*pair, *side)),
            Thing::Pidfd(serial) => {
                (self.procs.get(serial).is_none_or(super::procs::Proc::is_dead), false, false)
            }
            Thing::Inotify(notices) => {
                let has_news = !notices.queue.is_empty();
                (has_news || notices.is_overflown || notices.is_nudged, false, false)
            }
            Thing::Alarm(at, is_set) => (*is_set || *at <= wall, false, false),
            Thing::Monitor(is_changed) => (*is_changed, false, false),
            Thing::Emptied(_, is_told) => (false, false, *is_told),
            Thing::Report(serial) => (self.has_report(*serial), false, false),
            Thing::Signals => {
                (self.signals != crate::sys::signals::Arrived::default(), false, false)
            }
            Thing::Sink => (false, !self.is_sink_full, false),
            Thing::Epoll(_) | Thing::Lock | Thing::Watchdog | Thing::Segment => {
                (false, false, false)
            }
        }
    }

    /// What an epoll has to tell now, beginning anywhere.
    pub fn ready(&mut self, epoll: Id, out: &mut Vec<Ready>) {
        let Some(Thing::Epoll(watched)) = self.kernel.get(epoll) else {
            return;
        };
        let start = if watched.is_empty() { 0 } else { self.turns as usize % watched.len() };
        for each in watched.iter().cycle().skip(start).take(watched.len()) {
            let (readable, writable, hangup) = self.readiness(each.id);
            let (reads, writes) = match each.interest {
                Interest::Read => (readable, false),
                Interest::Write => (false, writable),
                Interest::ReadWrite => (readable, writable),
                Interest::Nothing => (false, false),
            };
            if reads || writes || hangup {
                // A hang-up of a connection can be read, too.
                let token = each.token;
                out.push(Ready { token, readable: reads, writable: writes, hangup });
                if out.len() == MAX_READY {
                    return;
                }
            }
        }
    }
}
