//! The link to the `pisup-init` of the world.

use super::fd::{self, AsFd, BorrowedFd, OwnedFd};
use super::{Errno, Fault, enter};
use crate::world::kernel::{Id, Thing};
use crate::world::upgrade::Word;
use crate::world::{self, Groups, World};

pub use pisup::sys::init_link::{
    CLIENT, CONTROL, Frame, GUARD, KEPT_MAX, LINK, LOCK, Name, PROGRAM, Power, WATCHDOG,
};

#[derive(Debug)]
pub enum Heard {
    Frame(Frame, Option<OwnedFd>),
    Nonsense,
    Nothing,
    End,
}

#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    pub fn pair() -> Result<(Self, OwnedFd), Errno> {
        enter(&fd::SHORT)?;
        Ok(world::with(|world| {
            let (near, far) = world.make_pair();
            (Self(fd::hand_out(world, near)), fd::hand_out(world, far))
        }))
    }

    pub const fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub fn inherited() -> Result<Option<Self>, Fault> {
        let handed = world::with(|world| {
            let id = world.upgrades.inherited.take()?;
            let own = fd::hand_out(world, id);
            world.let_go(id);
            Some(own)
        });
        if let Some(own) = handed {
            return Ok(Some(Self(own)));
        }
        if !world::with(|world| world.init.is_there) {
            return Ok(None);
        }
        let link = fd::open(|_| Thing::Link).map(Self).map(Some);
        link.map_err(Fault::of("taking", "the link to pisup-init"))
    }

    pub fn say(&self, frame: &Frame, with: Option<BorrowedFd<'_>>) -> Result<bool, Errno> {
        let is_refused = enter(&[Errno::AGAIN, Errno::NOBUFS]).is_err();
        world::with(|world| {
            let own = world.id(self.0.fd)?;
            let end = match world.kernel.get(own) {
                Some(Thing::End(pair, side)) => Some((*pair, *side)),
                _ => None,
            };
            // A guard that is not told kills, and that is not for all worlds.
            if is_refused && (end.is_none() || world.groups_are != Groups::None) {
                return Ok(false);
            }
            let id = with.map(|fd| world.id(fd.fd)).transpose()?;
            if let Some(end) = end {
                return world.say_to_other(end, *frame, id);
            }
            world.init_hears(*frame, id);
            Ok(true)
        })
    }

    pub fn hear(&self) -> Heard {
        super::pass();
        world::with(|world| {
            let own = world.id(self.0.fd).ok();
            if let Some(Thing::End(pair, side)) = own.and_then(|own| world.kernel.get(own)) {
                let end = (*pair, *side);
                return match world.hear_other(end) {
                    Word::Frame(frame, id) => Heard::Frame(frame, take(world, id)),
                    Word::Nothing => Heard::Nothing,
                    Word::End => Heard::End,
                };
            }
            let Some(heard) = world.init.to_supervisor.pop_front() else {
                return Heard::Nothing;
            };
            let Some((frame, id)) = heard else {
                return Heard::Nonsense;
            };
            Heard::Frame(frame, take(world, id))
        })
    }
}

/// A descriptor for what came with a frame, which was held on its way.
fn take(world: &mut World, id: Option<Id>) -> Option<OwnedFd> {
    let id = id?;
    let fd = fd::hand_out(world, id);
    world.let_go(id);
    Some(fd)
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
