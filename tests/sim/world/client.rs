//! Clients of the control socket: those that ask, and those that only take room.

use super::{Event, World};
use crate::rng::Rng;
use crate::wire::ctl::{Reply, Request};

/// Where the supervisor listens.
pub const SOCKET: &str = "/run/pisup/ctl.sock";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks, waits for the end of the answer, and goes.
    Asks,
    /// Asks, and goes at once.
    Vanishes,
    /// Asks for all that comes, and reads nothing.
    Deaf,
    /// Says nothing.
    Mute,
    /// The last one, who looks whether all is well.
    Judge,
}

#[derive(Debug)]
pub struct Client {
    pub kind: Kind,
    pub conn: usize,
    /// What is still to be said.
    pub says: Vec<u8>,
    heard: Vec<u8>,
    pub since: u64,
    /// For people.
    pub asks: String,
    pub replies: Vec<Reply>,
    pub is_answered: bool,
}

/// A request that the seed chooses.
fn any_request(rng: &mut Rng, names: &[String]) -> Request {
    let mut units = vec![rng.pick(names).clone()];
    if rng.one_in(4) {
        units.push(rng.pick(names).clone());
    }
    let unit = units[0].clone();
    let (no_wait, dry_run) = (rng.one_in(2), rng.one_in(8));
    match rng.below(20) {
        0..4 => Request::Start { units, no_wait },
        4..8 => Request::Stop { units, no_wait, dry_run },
        8..11 => Request::Restart { units, no_wait, dry_run },
        11 | 12 => Request::Reload { units, no_wait },
        13 => Request::Status { unit: rng.one_in(2).then_some(unit) },
        14 => Request::Logs { units: vec![], n: Some(5), follow: false },
        15 => Request::Events { units: vec![], n: None, follow: false },
        16 => Request::Why { unit },
        17 => Request::Env { unit },
        18 => {
            Request::Kill { unit, signal: rng.pick(&["HUP", "TERM", "KILL", "USR1"]).to_string() }
        }
        _ => Request::ReloadConfig { no_wait, dry_run },
    }
}

impl World {
    /// Somebody comes and asks something, or does not.
    pub fn new_client(&mut self) {
        let names: Vec<String> = self.graph.units.iter().map(|unit| unit.name.clone()).collect();
        let request = any_request(&mut self.rng, &names);
        let (kind, line) = match self.rng.below(16) {
            0 => (Kind::Mute, String::new()),
            1 => (Kind::Mute, "{\"do\":\"stat".to_owned()),
            2 => (Kind::Asks, "}{ nonsense\n".to_owned()),
            3 => (Kind::Vanishes, "x".repeat(70_000)),
            4 => (Kind::Vanishes, request.to_line()),
            5 => {
                let all = Request::Logs { units: vec![], n: None, follow: true };
                (Kind::Deaf, all.to_line())
            }
            _ => (Kind::Asks, request.to_line()),
        };
        self.connect(kind, line);
    }

    /// A client with one thing to say; nobody, if nobody listens.
    pub fn connect(&mut self, kind: Kind, line: String) -> Option<u64> {
        let id = self.next_client;
        let conn = self.knock(SOCKET, id)?;
        self.next_client += 1;
        self.counts.count("client");
        self.tell(|| format!("  client {id} ({kind:?}): {:.100}", line.trim_end()));
        let client = Client {
            kind,
            conn,
            asks: line.chars().take(200).collect(),
            says: line.into_bytes(),
            heard: Vec::new(),
            since: self.now,
            replies: Vec::new(),
            is_answered: false,
        };
        self.clients.insert(id, client);
        self.at(0, Event::Client(id));
        Some(id)
    }

    /// A client does what it can do now.
    pub fn client_goes_on(&mut self, id: u64) {
        let is_calm = self.is_calm();
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let conn = &mut self.conns[client.conn];
        if !conn.is_ours_open && conn.outbound.is_empty() {
            // It was sent away, or the supervisor has died.
            conn.is_theirs_open = false;
            if client.kind != Kind::Judge {
                self.clients.remove(&id);
            }
            return;
        }
        if !client.says.is_empty() {
            let count = if is_calm || self.rng.one_in(2) {
                client.says.len()
            } else {
                (1 + self.rng.index(30)).min(client.says.len())
            };
            conn.inbound.extend(client.says.drain(..count));
            let is_said = client.says.is_empty();
            if is_said && client.kind == Kind::Vanishes {
                conn.is_theirs_open = false;
                self.clients.remove(&id);
                return;
            }
            if !is_said {
                let delay = self.rng.below(50);
                return self.at(delay, Event::Client(id));
            }
        }
        if matches!(client.kind, Kind::Asks | Kind::Judge) {
            self.client_hears(id);
        }
    }

    fn client_hears(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let bytes = std::mem::take(&mut self.conns[client.conn].outbound);
        client.heard.extend(bytes);
        let mut wrong = None;
        while let Some(end) = client.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = client.heard.drain(..=end).collect();
            match Reply::parse(&line[..end]) {
                Ok(reply) => {
                    client.is_answered |= matches!(reply, Reply::Done(_) | Reply::Error(_));
                    if client.kind == Kind::Judge {
                        client.replies.push(reply);
                    }
                }
                Err(why) => wrong = Some(why),
            }
        }
        let is_over = client.is_answered && client.kind == Kind::Asks;
        let conn = client.conn;
        if is_over {
            self.conns[conn].is_theirs_open = false;
            self.clients.remove(&id);
        }
        if let Some(why) = wrong {
            self.fail(format!("a reply is not understood: {why}"));
        }
    }

    /// Everybody hangs up who is not waited for.
    pub fn dismiss_clients(&mut self) {
        let idle = |client: &Client| matches!(client.kind, Kind::Mute | Kind::Deaf);
        let ids: Vec<u64> =
            self.clients.iter().filter(|(_, each)| idle(each)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(client) = self.clients.remove(&id) {
                self.conns[client.conn].is_theirs_open = false;
            }
        }
    }
}
