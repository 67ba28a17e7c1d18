//! The `pisup-init` of the world: keeps descriptors, tells how orphans ended.

use std::collections::{BTreeMap, VecDeque};

use super::World;
use super::kernel::Id;
use crate::sys::init_link::{Frame, KEPT_MAX};

/// Ends that it remembers while nobody listens.
const UNTOLD_MAX: usize = 64;
/// Frames on their way.
const ON_THEIR_WAY_MAX: usize = 256;

#[derive(Debug, Default)]
pub struct Init {
    pub is_there: bool,
    pub kept: BTreeMap<String, Id>,
    /// `None` is nonsense.
    pub to_supervisor: VecDeque<Option<(Frame, Option<Id>)>>,
    pub untold: VecDeque<Frame>,
    /// What the supervisor was told and has not written down.
    pub told: VecDeque<Frame>,
    pub has_lost: bool,
    pub is_watching: bool,
    pub pinged: u32,
    pub ponged: u32,
}

impl World {
    /// A new supervisor finds what the one before it left.
    pub fn init_begins(&mut self) {
        if !self.init.is_there {
            return;
        }
        let kept: Vec<(String, Id)> =
            self.init.kept.iter().map(|(name, id)| (name.clone(), *id)).collect();
        self.init.to_supervisor.push_back(Some((Frame::Hello(false), None)));
        for (name, id) in kept {
            if let Some(name) = crate::sys::init_link::Name::new(&name) {
                self.kernel.hold(id);
                self.init.to_supervisor.push_back(Some((Frame::Kept(name), Some(id))));
            }
        }
        for frame in std::mem::take(&mut self.init.untold) {
            self.init.to_supervisor.push_back(Some((frame, None)));
            self.init.told.push_back(frame);
        }
        if std::mem::take(&mut self.init.has_lost) {
            self.init.to_supervisor.push_back(Some((Frame::Lost, None)));
        }
        self.init.to_supervisor.push_back(Some((Frame::Begin, None)));
        self.init.is_watching = false;
        self.init.ponged = self.init.pinged;
    }

    /// What it has not read is lost with its end of the link.
    pub fn init_loses_supervisor(&mut self) {
        for (_, id) in std::mem::take(&mut self.init.to_supervisor).into_iter().flatten() {
            if let Some(id) = id {
                self.let_go(id);
            }
        }
        self.init.untold = std::mem::take(&mut self.init.told);
    }

    pub fn init_tells_exit(&mut self, frame: Frame) {
        if !self.init.is_there {
            return;
        }
        if self.is_up {
            let is_full = self.init.to_supervisor.len() >= ON_THEIR_WAY_MAX;
            let frame = if is_full { Frame::Lost } else { frame };
            self.init.to_supervisor.push_back(Some((frame, None)));
            if !is_full {
                self.init.told.push_back(frame);
            }
        } else if self.init.untold.len() < UNTOLD_MAX {
            self.init.untold.push_back(frame);
        } else {
            self.init.has_lost = true;
        }
    }

    /// The supervisor has said something.
    pub fn init_hears(&mut self, frame: Frame, id: Option<Id>) {
        match (frame, id) {
            (Frame::Keep(name), Some(id)) => {
                let name = name.text().to_owned();
                let is_full = self.init.kept.len() >= KEPT_MAX;
                if is_full && !self.init.kept.contains_key(&name) {
                    return;
                }
                self.kernel.hold(id);
                if let Some(old) = self.init.kept.insert(name, id) {
                    self.let_go(old);
                }
            }
            (Frame::Drop(name), _) => {
                if let Some(old) = self.init.kept.remove(name.text()) {
                    self.let_go(old);
                }
            }
            (Frame::Ask, _) => self.init.to_supervisor.push_back(Some((Frame::Begin, None))),
            (Frame::Recorded(count), _) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                if count > self.init.told.len() {
                    self.fail(format!("{count} exits are recorded that were never told"));
                }
                self.init.told.drain(..count.min(self.init.told.len()));
            }
            (Frame::Watch, _) => self.init.is_watching = true,
            (Frame::Pong(number), _) => self.init.ponged = number,
            _ => {}
        }
    }

    pub fn ping(&mut self) {
        if self.init.is_there && self.is_up && self.init.is_watching {
            self.init.pinged += 1;
            let frame = Frame::Ping(self.init.pinged);
            self.init.to_supervisor.push_back(Some((frame, None)));
        }
    }
}
