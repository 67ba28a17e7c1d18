//! Descriptors that the supervisor deposits, by name: they outlive it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pisup::sys::init_link::{KEPT_MAX, Name, WATCHDOG};
use pisup::sys::watchdog;

/// A shelf of a fixed size.
pub struct Store([Option<(Name, OwnedFd)>; KEPT_MAX]);

impl Store {
    /// An empty one.
    pub const fn new() -> Self {
        Self([const { None }; KEPT_MAX])
    }

    /// Takes a descriptor in place of an older one of that name; `false` when there is no room.
    pub fn keep(&mut self, name: Name, fd: OwnedFd) -> bool {
        let own = self.0.iter().position(|slot| slot.as_ref().is_some_and(|(n, _)| *n == name));
        let place = own.or_else(|| self.0.iter().position(Option::is_none));
        let Some(slot) = place.and_then(|place| self.0.get_mut(place)) else {
            return false;
        };
        *slot = Some((name, fd));
        true
    }

    /// Closes a descriptor.
    pub fn drop(&mut self, name: Name) {
        self.retain(|own| own != name);
    }

    /// Closes all of them.
    pub fn clear(&mut self) {
        self.retain(|_| false);
    }

    fn retain(&mut self, stays: impl Fn(Name) -> bool) {
        for slot in &mut self.0 {
            let Some((name, fd)) = slot.take_if(|(name, _)| !stays(*name)) else {
                continue;
            };
            if name.text() == WATCHDOG {
                watchdog::quiet(fd.as_fd());
            }
        }
    }

    /// The hardware watchdog, if it is among them.
    pub fn watchdog(&self) -> Option<BorrowedFd<'_>> {
        self.find(WATCHDOG)
    }

    /// The descriptor of that name.
    pub fn find(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.iter().find(|(own, _)| own.text() == name).map(|(_, fd)| fd)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Name, BorrowedFd<'_>)> {
        self.0.iter().flatten().map(|(name, fd)| (*name, fd.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_shelf_is_full_at_some_point_and_a_name_is_there_once() {
        let mut store = Store::new();
        let name = |number: usize| Name::new(&format!("log/{number}")).unwrap();
        for number in 0..KEPT_MAX {
            assert!(store.keep(name(number), null()));
        }
        assert!(!store.keep(name(KEPT_MAX), null()));
        assert!(store.keep(name(7), null()), "in place of the older one");
        assert_eq!(store.iter().count(), KEPT_MAX);
        store.drop(name(7));
        store.drop(name(7));
        assert!(store.keep(name(KEPT_MAX), null()));
        assert!(store.iter().all(|(own, _)| own != name(7)));
        store.clear();
        assert_eq!(store.iter().count(), 0);
    }
}
