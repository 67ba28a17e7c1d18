//! What the shell keeps of each unit: its history, its output, and the body of its present run.

use std::collections::VecDeque;

use super::adopt::Leftover;
use super::capture::Capture;
use super::history::History;
use super::probing::Probing;
use crate::machine::{Exit, Run, Tick};
use crate::sys::cgroup::{Emptied, Group};
use crate::sys::child;
use crate::sys::fd::OwnedFd;
use crate::sys::notify_socket::NotifySocket;

/// Notes kept for `status`: enough for a prepare step each and a few warnings.
const NOTES_MAX: usize = 8;

/// What is kept of a unit as long as the supervisor knows it.
#[derive(Debug)]
pub struct Live {
    /// Its last changes.
    pub history: History,
    /// When its state changed last.
    pub since: Tick,
    /// Why.
    pub cause: String,
    /// Starts of its process.
    pub starts: u64,
    /// What its last start was made of (`config::made_of`); 0 if that is not known.
    pub made_of: u64,
    /// Failures ever.
    pub failures: u64,
    /// The last one.
    pub failure: String,
    /// How its last process ended.
    pub exit: Option<Exit>,
    /// What is worth knowing and is no state.
    pub notes: VecDeque<String>,
    /// Its output.
    pub capture: Option<Capture>,
    /// Where its processes are kept together.
    pub group: Option<Group>,
    /// Reloads that have ended, and how the last one did.
    pub reloads: (u64, Result<(), String>),
    /// Datagrams from strangers on its notify socket.
    pub strangers: u64,
    /// What an earlier supervisor left of it.
    pub leftover: Leftover,
    /// Its present run.
    pub body: Option<Body>,
}

/// What belongs to one run, and goes with it.
#[derive(Debug)]
pub struct Body {
    /// The run.
    pub run: Run,
    /// The process that was started.
    pub main: Option<u32>,
    /// The session of what was started last, and its first process group; outlives its leader.
    pub session: Option<u32>,
    /// A prepare step that runs now.
    pub step: Option<u32>,
    /// The process that said MAINPID, or was said to be it, and a descriptor that tells its end.
    pub named: Option<(u32, OwnedFd)>,
    /// The first process of the container that the main process owns.
    pub container: Option<u32>,
    /// What the service says of itself.
    pub status_text: Option<String>,
    /// Until when it has to say that it is ready again, having said that it reloads.
    pub reloads_until: Option<Tick>,
    /// Where it says so.
    pub notify: Option<NotifySocket>,
    /// Where a newline says that it is ready.
    pub ready_fd: Option<OwnedFd>,
    /// Its newline was seen there, and is in the pipe still.
    pub is_ready_told: bool,
    /// The first message on its notify socket was heeded, and is in the queue still.
    pub is_first_heeded: bool,
    /// The questions it is asked.
    pub probing: Probing,
    /// What its readiness file was before it started.
    pub ready_file: Option<String>,
    /// It was asked to end.
    pub is_asked: bool,
    /// Tells that nobody is left of it, while it is being killed.
    pub emptied: Option<Emptied>,
    /// What it left behind is being killed.
    pub is_sweeping: bool,
}

impl Live {
    /// A unit that nothing has happened to yet.
    #[must_use]
    pub fn new(now: Tick) -> Self {
        Self {
            history: History::default(),
            since: now,
            cause: "not started yet".to_owned(),
            starts: 0,
            made_of: 0,
            failures: 0,
            failure: String::new(),
            exit: None,
            notes: VecDeque::new(),
            capture: None,
            group: None,
            reloads: (0, Ok(())),
            strangers: 0,
            leftover: Leftover::Nothing,
            body: None,
        }
    }

    /// Keeps a note, once.
    pub fn note(&mut self, text: String) {
        self.notes.retain(|note| *note != text);
        if self.notes.len() >= NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(text);
    }

    /// The body, if this is its run.
    pub fn body_of(&mut self, run: Run) -> Option<&mut Body> {
        self.body.as_mut().filter(|body| body.run == run)
    }

    /// The service's own main process.
    #[must_use]
    pub fn main(&self) -> Option<u32> {
        let body = self.body.as_ref()?;
        body.named.as_ref().map(|(pid, _)| *pid).or(body.main)
    }

    /// The session of the run, as long as that number can mean no other.
    #[must_use]
    pub fn session(&self) -> Option<u32> {
        let body = self.body.as_ref()?;
        let session = body.session?;
        let is_unreaped = [body.main, body.step].contains(&Some(session));
        // The kernel gives the number to nobody while a member is left: who has it is a stranger.
        (is_unreaped || child::stat(session).is_none()).then_some(session)
    }
}

impl Body {
    /// A run of which nothing is there yet.
    #[must_use]
    pub fn new(run: Run) -> Self {
        Self {
            run,
            main: None,
            session: None,
            step: None,
            named: None,
            container: None,
            status_text: None,
            reloads_until: None,
            notify: None,
            ready_fd: None,
            is_ready_told: false,
            is_first_heeded: false,
            probing: Probing::default(),
            ready_file: None,
            is_asked: false,
            emptied: None,
            is_sweeping: false,
        }
    }
}
