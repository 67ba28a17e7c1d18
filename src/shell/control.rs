//! The control socket: requests to events, and the ends of jobs to replies.

use super::Shell;
use super::client::{Asking, Client, Link};
use super::token::Token;
use crate::machine::UnitId;
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::poll::{Interest, Ready};
use crate::sys::{Fault, socket};
use crate::wire::ctl::{Done, ErrorDoc, Reply, Request, code};

/// Connections at a time; when one more knocks, the one that has been mute for longest goes.
const CLIENTS_MAX: usize = 64;

/// Of those that may only ask: they get in each other's way, and in nobody else's.
const ASKING_CLIENTS_MAX: usize = 16;

/// Connections taken in one turn.
const ACCEPTED_MAX: usize = 16;

impl Shell {
    /// Takes new connections.
    pub(super) fn on_control(&mut self) {
        for number in 0..ACCEPTED_MAX {
            let accepted = socket::accept(self.control.as_fd());
            if !self.let_in(accepted, true, number == 0) {
                return;
            }
        }
    }

    /// The same, of those that may only ask.
    pub(super) fn on_queries(&mut self) {
        for number in 0..ACCEPTED_MAX {
            let Some(queries) = &self.queries else { return };
            let accepted = socket::accept(queries.as_fd());
            if !self.let_in(accepted, false, number == 0) {
                return;
            }
        }
    }

    /// Whether there may be more. `is_awaited` when somebody is known to wait: without a descriptor
    /// the kernel says so before it looks whether anybody does.
    fn let_in(
        &mut self,
        accepted: Result<Option<OwnedFd>, Fault>,
        may_act: bool,
        is_awaited: bool,
    ) -> bool {
        let socket = match accepted {
            Ok(Some(socket)) => socket,
            Ok(None) => return false,
            Err(_) if !is_awaited => return false,
            Err(fault) => {
                // Out of descriptors: the mutest client makes room, or nobody could ever talk.
                log::warn!("{fault}");
                if !self.drop_mutest_client(false) && !self.drop_mutest_client(true) {
                    self.turn_deaf();
                }
                return false;
            }
        };
        let most = if may_act { CLIENTS_MAX } else { ASKING_CLIENTS_MAX };
        if self.clients.values().filter(|client| client.may_act == may_act).count() >= most {
            self.drop_mutest_client(may_act);
        }
        self.next_client = self.next_client.wrapping_add(1);
        let (id, client) = (self.next_client, Client::new(socket, may_act, self.now));
        match self.poll.add(client.as_fd(), Token::Client(id).to_number(), Interest::Read) {
            Ok(()) => drop(self.clients.insert(id, client)),
            Err(fault) => log::warn!("{fault}"),
        }
        true
    }

    /// Whether there was one with that right.
    fn drop_mutest_client(&mut self, may_act: bool) -> bool {
        let equals = || self.clients.iter().filter(|(_, client)| client.may_act == may_act);
        let idle = equals().filter(|(_, client)| matches!(client.asking, Asking::Nothing));
        let mutest = idle.min_by_key(|(_, client)| client.heard).map(|(id, _)| *id);
        let id = mutest.or_else(|| equals().next().map(|(id, _)| *id));
        id.inspect(|id| self.drop_client(*id)).is_some()
    }

    pub(super) fn drop_asking_clients(&mut self) {
        while self.drop_mutest_client(false) {}
    }

    fn drop_client(&mut self, id: u32) {
        if let Some(client) = self.clients.remove(&id) {
            self.poll.remove(client.as_fd());
        }
    }

    /// A connection can go on.
    pub(super) fn on_client(&mut self, id: u32, ready: Ready) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let is_listening = matches!(client.asking, Asking::Nothing);
        let link = if ready.readable && is_listening && !client.is_leaving {
            client.read(now)
        } else if ready.hangup {
            Link::Down
        } else {
            Link::Up
        };
        if link == Link::Down {
            self.drop_client(id);
            return;
        }
        self.serve(id);
        self.flush_client(id);
    }

    /// Answers the requests of a client, one after the other.
    fn serve(&mut self, id: u32) {
        while let Some(line) = self.clients.get_mut(&id).and_then(Client::next_line) {
            let request = match line {
                Ok(line) => Request::parse(&line),
                Err(_) => {
                    let message = "the request is too long (64 KiB at the most)".to_owned();
                    self.reply(id, &Reply::Error(ErrorDoc { code: code::USAGE, message }));
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.is_leaving = true;
                    }
                    return;
                }
            };
            let may_act = self.clients.get(&id).is_some_and(|client| client.may_act);
            match request {
                Ok(request) if !may_act && !request.is_question() => self.refuse_to_act(id),
                Ok(request) => self.answer(id, request),
                Err(error) => self.reply(id, &Reply::Error(error)),
            }
        }
    }

    /// Says something to a client; one that does not listen is dropped.
    pub(super) fn reply(&mut self, id: u32, reply: &Reply) {
        if self.clients.get_mut(&id).is_some_and(|client| client.say(reply) == Link::Down) {
            self.drop_client(id);
        }
    }

    /// Ends an answer well, or with a code that says otherwise.
    pub(super) fn done(&mut self, id: u32, code: u8, message: String) {
        self.reply(id, &Reply::Done(Done { code, message }));
    }

    /// Ends an answer before anything was done.
    pub(super) fn refuse(&mut self, id: u32, code: u8, message: String) {
        self.reply(id, &Reply::Error(ErrorDoc { code, message }));
    }

    /// Writes what a client takes, and tells epoll what is left.
    pub(super) fn flush_client(&mut self, id: u32) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let is_up = client.write() == Link::Up;
        let interest = client.interest();
        let number = Token::Client(id).to_number();
        if !is_up || self.poll.modify(client.as_fd(), number, interest).is_err() {
            self.drop_client(id);
        }
    }

    /// The units of these names.
    ///
    /// # Errors
    ///
    /// The first name that no unit has, in a sentence.
    pub(super) fn units_of(&self, names: &[String]) -> Result<Vec<UnitId>, String> {
        names.iter().map(|name| self.unit_of(name)).collect()
    }

    /// The unit of that name.
    ///
    /// # Errors
    ///
    /// A sentence, with the name that was meant, perhaps.
    pub(super) fn unit_of(&self, name: &str) -> Result<UnitId, String> {
        if let Some(unit) = self.machine.find(name).filter(|unit| self.is_known(*unit)) {
            return Ok(unit);
        }
        let names = self.machine.units().map(|(_, spec, _)| spec.name.as_str());
        Err(match crate::config::nearest(name, names) {
            Some(near) => format!("no unit \"{name}\"; did you mean \"{near}\"?"),
            None => format!("no unit \"{name}\"; pisup ctl status lists them"),
        })
    }

    /// Whether a unit is in the configuration, or still lives.
    pub(super) fn is_known(&self, unit: UnitId) -> bool {
        self.machine.unit(unit).is_some_and(|state| !state.is_retired || state.is_live())
    }

    /// Lets every job, view and reader go on after something has happened.
    pub(super) fn advance_clients(&mut self) {
        let ids: Vec<u32> = self.clients.keys().copied().collect();
        for id in ids {
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            match std::mem::replace(&mut client.asking, Asking::Nothing) {
                Asking::Nothing => {
                    self.flush_client(id);
                    continue;
                }
                Asking::Job(job) => self.advance_job(id, job),
                Asking::Follow(follow) => self.advance_follow(id, follow),
            }
            self.serve(id);
            self.flush_client(id);
        }
        self.touched.clear();
    }
}
