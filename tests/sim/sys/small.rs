//! What has no more than a function or two.

pub mod own {
    //! The supervisor's own numbers.
    use std::path::PathBuf;

    pub fn pid() -> u32 {
        crate::world::with(|world| world.supervisor)
    }

    pub fn parent() -> u32 {
        1
    }

    pub fn program() -> PathBuf {
        "/pisup".into()
    }

    pub fn set_umask() {}

    pub fn raise_descriptors() {}
}

pub mod host {
    //! The machine's name.

    pub fn name() -> String {
        "pi".to_owned()
    }
}

pub mod notifier {
    //! Nobody listens above.

    #[derive(Debug, Default)]
    pub struct Notifier;

    impl Notifier {
        pub const fn from_env() -> Self {
            Self
        }

        pub fn tell(&self, lines: &str) {
            super::super::pass();
            crate::world::with(|world| world.told_above(lines));
        }
    }
}

pub mod signals {
    //! Signals to the supervisor.
    use std::io;

    use crate::sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
    use crate::world::kernel::Thing;

    pub use pisup::sys::signals::Arrived;

    #[derive(Debug)]
    pub struct Signals(OwnedFd);

    impl Signals {
        pub fn install() -> io::Result<Self> {
            let own = Self(fd::open(|_| Thing::Signals)?);
            own.let_in();
            Ok(own)
        }

        pub fn take(&self) -> Arrived {
            crate::sys::pass();
            crate::world::with(|world| std::mem::take(&mut world.signals))
        }

        pub fn hold_back(&self) {
            crate::world::with(|world| world.upgrades.holds_signals = true);
        }

        pub fn let_in(&self) {
            crate::world::with(|world| world.upgrades.holds_signals = false);
        }
    }

    impl AsFd for Signals {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

pub mod user {
    //! Root, and nobody else.
    pub use pisup::sys::user::Account;

    pub fn resolve(
        _user: Option<&str>,
        _group: Option<&str>,
        _groups: Option<&[String]>,
    ) -> Result<Account, String> {
        crate::sys::pass();
        let (name, home) = ("root".to_owned(), "/root".to_owned());
        Ok(Account { name, home, ids: None })
    }

    pub fn group_id(name: &str) -> Result<u32, String> {
        Err(format!("group {name:?} is unknown"))
    }

    pub const fn user_id(_name: &str) -> Result<u32, String> {
        Ok(0)
    }
}

pub mod watchdog {
    //! A hardware watchdog.
    use std::path::Path;

    use crate::sys::Fault;
    use crate::sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
    use crate::world::kernel::Thing;

    pub fn open(path: &Path, _seconds: u64) -> Result<OwnedFd, Fault> {
        fd::open(|_| Thing::Watchdog).map_err(Fault::of("opening", path.display()))
    }

    pub fn seconds(_watchdog: impl AsFd) -> Option<u64> {
        Some(15)
    }

    pub fn feed_every_ms(_watchdog: impl AsFd) -> u64 {
        5_000
    }

    pub fn feed(_watchdog: BorrowedFd<'_>) {
        crate::world::with(|world| world.watchdog_fed = world.now);
    }

    pub fn quiet(_watchdog: BorrowedFd<'_>) {}
}
