//! Connections: clients at the supervisor's sockets, and its probes at the services'.

use std::collections::VecDeque;

use super::kernel::{Id, Listener, Thing};
use super::{Event, World};
use crate::sys::Errno;
use crate::sys::stream::Got;

/// Bytes that may be on their way.
const ROOM: usize = 64 * 1024;

#[derive(Debug)]
pub struct Conn {
    /// To the supervisor.
    pub inbound: VecDeque<u8>,
    /// From it.
    pub outbound: VecDeque<u8>,
    /// How connecting ended, once it has.
    pub outcome: Option<Result<(), Errno>>,
    pub is_ours_open: bool,
    pub is_theirs_open: bool,
    pub client: Option<u64>,
    pub server: Option<u64>,
    /// Where a probe wants to go.
    pub address: String,
}

impl Conn {
    const fn new(outcome: Option<Result<(), Errno>>) -> Self {
        Self {
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            outcome,
            is_ours_open: true,
            is_theirs_open: true,
            client: None,
            server: None,
            address: String::new(),
        }
    }

    pub fn readiness(&self) -> (bool, bool, bool) {
        let is_gone = !self.is_theirs_open;
        match self.outcome {
            None => (false, false, false),
            Some(Err(_)) => (true, true, true),
            Some(Ok(())) => {
                let has_room = self.outbound.len() < ROOM;
                (is_gone || !self.inbound.is_empty(), is_gone || has_room, is_gone)
            }
        }
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Got, Errno> {
        if let Some(Err(errno)) = self.outcome {
            return Err(errno);
        }
        let count = self.inbound.len().min(buffer.len());
        if count == 0 {
            return Ok(if self.is_theirs_open { Got::Later } else { Got::End });
        }
        for (to, from) in buffer.iter_mut().zip(self.inbound.drain(..count)) {
            *to = from;
        }
        Ok(Got::Bytes(count))
    }
}

impl World {
    /// The supervisor says something.
    pub fn send(&mut self, conn: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let is_calm = self.is_calm();
        let each = &mut self.conns[conn];
        if let Some(Err(errno)) = each.outcome {
            return Err(errno);
        }
        if !each.is_theirs_open {
            return Err(Errno::PIPE);
        }
        let room = ROOM.saturating_sub(each.outbound.len());
        if room == 0 {
            return Err(Errno::AGAIN);
        }
        let mut count = bytes.len().min(room);
        if !is_calm && self.rng.one_in(20) {
            count = count.min(1 + self.rng.index(100));
        }
        each.outbound.extend(&bytes[..count]);
        match (each.client, each.server) {
            (Some(client), _) => self.at(1, Event::Client(client)),
            _ => {
                let delay = if is_calm { 5 } else { self.rng.below(400) };
                self.at(delay, Event::Serve(conn));
            }
        }
        Ok(count)
    }

    /// The listener of a path or an address.
    pub fn listener(&mut self, name: &str) -> Option<&mut Listener> {
        self.kernel.open.iter_mut().flatten().find_map(|open| match &mut open.thing {
            Thing::Listener(listener) if listener.name == name => Some(listener),
            _ => None,
        })
    }

    fn new_conn(&mut self, outcome: Option<Result<(), Errno>>, address: &str) -> usize {
        let conn = Conn { address: address.to_owned(), ..Conn::new(outcome) };
        self.conns.push(conn);
        self.conns.len() - 1
    }

    /// Somebody connects to the supervisor.
    pub fn knock(&mut self, path: &str, client: u64) -> Option<usize> {
        let Some(super::files::Kind::Socket(id)) = self.files.kind(path) else {
            return None;
        };
        let id: Id = *id;
        let conn = self.new_conn(Some(Ok(())), path);
        self.conns[conn].client = Some(client);
        match self.kernel.get_mut(id) {
            Some(Thing::Listener(listener)) => {
                listener.backlog.push_back(conn);
                Some(conn)
            }
            _ => None,
        }
    }

    /// A probe connects to a path.
    pub fn connect_path(&mut self, path: &str) -> Result<usize, Errno> {
        if let Some(server) = self.server_of(path) {
            let conn = self.new_conn(Some(Ok(())), path);
            self.conns[conn].server = Some(server);
            return Ok(conn);
        }
        if self.files.kind(path).is_none() {
            return Err(Errno::NOENT);
        }
        if self.listener(path).is_none() {
            return Err(Errno::CONNREFUSED);
        }
        Ok(self.new_conn(Some(Ok(())), path))
    }

    /// A probe connects to an address.
    pub fn connect_tcp(&mut self, address: &str) -> usize {
        let conn = self.new_conn(None, address);
        let delay = if self.is_calm() { 1 } else { self.rng.below(50) };
        self.at(delay, Event::Serve(conn));
        conn
    }

    /// Who answers there.
    fn server_of(&self, address: &str) -> Option<u64> {
        let unit = self.graph.units.iter().find(|u| u.port() == address || u.sock() == address)?;
        let own = self.procs.values().find(|p| p.serves && !p.is_dead() && p.unit == unit.name);
        own.map(|each| each.serial)
    }

    /// What a server does next about a connection.
    pub fn serve(&mut self, conn: usize) {
        if !self.conns[conn].is_ours_open {
            return;
        }
        if self.conns[conn].outcome.is_none() {
            let server = self.server_of(&self.conns[conn].address.clone());
            // One that is overwhelmed says nothing at all.
            if server.is_none() || self.is_calm() || !self.rng.one_in(12) {
                self.conns[conn].server = server;
                self.conns[conn].outcome = Some(server.map(drop).ok_or(Errno::CONNREFUSED));
            }
            return;
        }
        let request: Vec<u8> = self.conns[conn].outbound.iter().copied().collect();
        if !request.ends_with(b"\r\n\r\n") {
            return;
        }
        let is_good = self.is_calm() || self.rng.percent(75);
        self.conns[conn].outbound.clear();
        let good = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..];
        let bytes = match self.rng.below(5) {
            _ if is_good => good,
            0 => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            1 => b"HTTP/1.1 20",
            2 => b"SSH-2.0\r\n",
            3 => return,
            _ => &[],
        };
        self.conns[conn].inbound.extend(bytes);
        if self.rng.one_in(2) {
            self.conns[conn].is_theirs_open = false;
        }
    }
}
