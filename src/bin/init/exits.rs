//! Ends of orphans that the supervisor has not been told yet: a queue of a fixed size.

use pisup::sys::init_link::{Exit, Frame};

/// So many fit into the link beside what is kept, before a supervisor listens.
const EXITS_MAX: usize = 128;

/// The oldest ones go first, and go first when there are too many.
pub struct Exits {
    ring: [(u32, Exit); EXITS_MAX],
    first: usize,
    len: usize,
    has_lost: bool,
}

impl Exits {
    /// None yet.
    pub const fn new() -> Self {
        Self { ring: [(0, Exit::Unknown); EXITS_MAX], first: 0, len: 0, has_lost: false }
    }

    /// Another one.
    pub fn push(&mut self, pid: u32, exit: Exit) {
        if self.len == EXITS_MAX {
            self.has_lost = true;
            self.pop();
        }
        if let Some(slot) = self.ring.get_mut((self.first + self.len) % EXITS_MAX) {
            *slot = (pid, exit);
            self.len += 1;
        }
    }

    /// What is to be told next.
    pub fn first(&self) -> Option<Frame> {
        if self.has_lost {
            return Some(Frame::Lost);
        }
        let (pid, exit) = self.ring.get(self.first).filter(|_| self.len > 0)?;
        Some(Frame::Exit(*pid, *exit))
    }

    /// It was told.
    pub fn told(&mut self) {
        if !std::mem::take(&mut self.has_lost) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if self.len > 0 {
            self.first = (self.first + 1) % EXITS_MAX;
            self.len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_in_order_and_a_loss_is_told_once() {
        let mut exits = Exits::new();
        assert_eq!(exits.first(), None);
        for pid in 0..300 {
            exits.push(pid, Exit::Code(0));
        }
        assert_eq!(exits.first(), Some(Frame::Lost));
        exits.told();
        for pid in 300 - 128..300 {
            assert_eq!(exits.first(), Some(Frame::Exit(pid, Exit::Code(0))));
            exits.told();
        }
        assert_eq!(exits.first(), None);
        exits.told();
        exits.push(7, Exit::Signal(9));
        assert_eq!(exits.first(), Some(Frame::Exit(7, Exit::Signal(9))));
    }
}
