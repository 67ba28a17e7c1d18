//! Ends of orphans that no supervisor has written down yet: a queue of a fixed size.

use pisup::sys::init_link::{Exit, Frame};

/// So many fit into the link beside what is kept, before a supervisor listens.
const EXITS_MAX: usize = 128;

/// The oldest ones go first, and go first when there are too many.
pub struct Exits {
    ring: [(u32, Exit); EXITS_MAX],
    first: usize,
    len: usize,
    /// So many of them, the oldest ones, were told to the supervisor that there is.
    told: usize,
    /// So many were told to it before those, and went when there were too many.
    gone: usize,
    has_lost: bool,
}

impl Exits {
    /// None yet.
    pub const fn new() -> Self {
        let ring = [(0, Exit::Unknown); EXITS_MAX];
        Self { ring, first: 0, len: 0, told: 0, gone: 0, has_lost: false }
    }

    /// Another one.
    pub fn push(&mut self, pid: u32, exit: Exit) {
        if self.len == EXITS_MAX {
            if self.told > 0 {
                self.gone += 1
            } else {
                self.has_lost = true
            }
            self.pop();
        }
        if let Some(slot) = self.ring.get_mut((self.first + self.len) % EXITS_MAX) {
            *slot = (pid, exit);
            self.len += 1;
        }
    }

    /// What is to be told next.
    pub fn next(&self) -> Option<Frame> {
        if self.has_lost {
            return Some(Frame::Lost);
        }
        let at = (self.first + self.told) % EXITS_MAX;
        let (pid, exit) = self.ring.get(at).filter(|_| self.told < self.len)?;
        Some(Frame::Exit(*pid, *exit))
    }

    /// It was told.
    pub fn told(&mut self) {
        if !std::mem::take(&mut self.has_lost) && self.told < self.len {
            self.told += 1;
        }
    }

    /// So many more of those that were told are written down.
    pub fn recorded(&mut self, count: u32) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let gone = self.gone.min(count);
        self.gone -= gone;
        for _ in 0..(count - gone).min(self.told) {
            self.pop();
        }
    }

    /// Whom they were told to is dead; the rest is for the next one.
    pub const fn tell_again(&mut self) {
        (self.told, self.gone) = (0, 0);
    }

    fn pop(&mut self) {
        if self.len > 0 {
            self.first = (self.first + 1) % EXITS_MAX;
            self.len -= 1;
            self.told = self.told.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell_all(exits: &mut Exits) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = exits.next() {
            exits.told();
            all.push(frame);
        }
        all
    }

    fn filled(pids: std::ops::Range<u32>) -> Exits {
        let mut exits = Exits::new();
        pids.for_each(|pid| exits.push(pid, Exit::Code(0)));
        exits
    }

    fn frames(pids: std::ops::Range<u32>) -> Vec<Frame> {
        pids.map(|pid| Frame::Exit(pid, Exit::Code(0))).collect()
    }

    #[test]
    fn the_latest_are_kept_in_order_and_a_loss_is_told_once() {
        let mut exits = Exits::new();
        assert_eq!(exits.next(), None);
        (0..300).for_each(|pid| exits.push(pid, Exit::Code(0)));
        assert_eq!(exits.next(), Some(Frame::Lost));
        exits.told();
        assert_eq!(tell_all(&mut exits), frames(300 - 128..300));
        exits.told();
        exits.push(7, Exit::Signal(9));
        assert_eq!(exits.next(), Some(Frame::Exit(7, Exit::Signal(9))));
    }

    #[test]
    fn what_was_not_recorded_is_told_again_and_nothing_else() {
        let mut exits = filled(0..5);
        assert_eq!(tell_all(&mut exits), frames(0..5));
        exits.recorded(2);
        exits.tell_again();
        assert_eq!(tell_all(&mut exits), frames(2..5));
        exits.recorded(0);
        exits.recorded(9);
        exits.tell_again();
        assert_eq!(tell_all(&mut exits), []);
    }

    #[test]
    fn what_was_told_goes_without_a_loss_and_is_not_counted_twice() {
        let mut exits = filled(0..128);
        tell_all(&mut exits);
        (128..138).for_each(|pid| exits.push(pid, Exit::Code(0)));
        assert_eq!(tell_all(&mut exits), frames(128..138));
        // The first ten are in the ring no more.
        exits.recorded(12);
        exits.tell_again();
        assert_eq!(tell_all(&mut exits), frames(12..138));
    }
}
