//! Listening sockets of units: made once, kept over restarts, handed to every run.
//!
//! A client that connects while its service is down waits in the socket's queue. This module
//! decides nothing about units; it owns their sockets.

use std::collections::BTreeMap;

use crate::config::plan::{Listen, Socket};
use crate::machine::UnitId;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::files::{self, Identity};
use crate::sys::socket::{self, Access, Blocking};
use crate::sys::{Fault, user};

/// The listening sockets of all units.
#[derive(Debug, Default)]
pub struct Activation(BTreeMap<UnitId, Vec<Listening>>);

#[derive(Debug)]
struct Listening {
    socket: OwnedFd,
    spec: Socket,
    /// The file that is ours to remove.
    file: Option<Identity>,
}

impl Activation {
    /// Opens what a unit asks for, keeps what it has already and closes the rest.
    ///
    /// `Err` says which could not be opened and why; the others are open.
    pub fn open(&mut self, unit: UnitId, wanted: &[Socket]) -> Result<(), String> {
        let mut old = self.0.remove(&unit).unwrap_or_default();
        let mut open = Vec::new();
        let mut faults = Vec::new();
        for spec in wanted {
            let own = old.iter().position(|each| each.spec.listen == spec.listen);
            let result = match own {
                Some(index) => old.swap_remove(index).adapt(spec),
                None => Listening::new(spec),
            };
            match result {
                Ok(listening) => open.push(listening),
                Err(why) => faults.push(why),
            }
        }
        old.into_iter().for_each(Listening::close);
        if !open.is_empty() {
            self.0.insert(unit, open);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }

    /// Takes back a socket of an earlier life of the supervisor, if it is this one.
    pub fn resume(&mut self, unit: UnitId, spec: &Socket, socket: OwnedFd) {
        let (is_it, file) = match &spec.listen {
            Listen::Unix(path) => {
                (socket::is_bound_to_unix(socket.as_fd(), path), files::identity(path))
            }
            Listen::Tcp(address) => (socket::is_bound_to_tcp(socket.as_fd(), *address), None),
        };
        if is_it {
            let listening = Listening { socket, spec: spec.clone(), file };
            self.0.entry(unit).or_default().push(listening);
        }
    }

    /// A unit's sockets with their names, in the order of its configuration.
    #[must_use]
    pub fn sockets(&self, unit: UnitId) -> Vec<(BorrowedFd<'_>, String)> {
        let sockets = self.0.get(&unit).into_iter().flatten();
        sockets.map(|each| (each.socket.as_fd(), each.spec.name.clone())).collect()
    }

    /// Gives every unit its new id; the sockets of those without one are closed.
    pub fn renumber(&mut self, new_id: impl Fn(UnitId) -> Option<UnitId>) {
        for (old, sockets) in std::mem::take(&mut self.0) {
            match new_id(old) {
                Some(new) => drop(self.0.insert(new, sockets)),
                None => sockets.into_iter().for_each(Listening::close),
            }
        }
    }

    /// Closes the sockets of one unit.
    pub fn close_of(&mut self, unit: UnitId) {
        self.0.remove(&unit).into_iter().flatten().for_each(Listening::close);
    }

    /// Closes all sockets and removes their files: nobody will answer there any more.
    pub fn close(&mut self) {
        let all = std::mem::take(&mut self.0);
        all.into_values().flatten().for_each(Listening::close);
    }
}

impl Listening {
    fn new(spec: &Socket) -> Result<Self, String> {
        let text = |fault: Fault| fault.to_string();
        let socket = match &spec.listen {
            Listen::Unix(path) => {
                path.parent().map_or(Ok(()), files::make_dir).map_err(text)?;
                socket::listen_unix(path, access(spec)?, Blocking::Yes).map_err(text)?
            }
            Listen::Tcp(address) => socket::listen_tcp(*address, Blocking::Yes).map_err(text)?,
        };
        let file = match &spec.listen {
            Listen::Unix(path) => files::identity(path),
            Listen::Tcp(_) => None,
        };
        Ok(Self { socket, spec: spec.clone(), file })
    }

    /// The same address under a changed name, owner or mode: the socket stays, and who waits in
    /// its queue does, too. One whose file somebody has removed is made anew.
    fn adapt(mut self, spec: &Socket) -> Result<Self, String> {
        if let Listen::Unix(path) = &spec.listen {
            if self.file.is_none() || files::identity(path) != self.file {
                return Self::new(spec);
            }
            let changed = (&self.spec.mode, &self.spec.user, &self.spec.group);
            if changed != (&spec.mode, &spec.user, &spec.group) {
                socket::set_access(path, access(spec)?).map_err(|fault| fault.to_string())?;
            }
        }
        self.spec = spec.clone();
        Ok(self)
    }

    fn close(self) {
        let Listen::Unix(path) = &self.spec.listen else {
            return;
        };
        if self.file.is_some() && files::identity(path) == self.file {
            let _ = files::remove(path);
        }
    }
}

fn access(spec: &Socket) -> Result<Access, String> {
    let uid = spec.user.as_deref().map(user::user_id).transpose();
    let gid = spec.group.as_deref().map(user::group_id).transpose();
    let told = |error| match &spec.listen {
        Listen::Unix(path) => format!("listening on {}: {error}", path.display()),
        Listen::Tcp(address) => format!("listening on {address}: {error}"),
    };
    Ok(Access { mode: spec.mode, uid: uid.map_err(told)?, gid: gid.map_err(told)? })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::sys::files::tests::TempDir;

    const UNIT: UnitId = UnitId(1);

    fn unix(path: &Path) -> Socket {
        Socket {
            listen: Listen::Unix(path.to_owned()),
            name: "docker".to_owned(),
            mode: 0o660,
            user: None,
            group: None,
        }
    }

    fn fixture() -> (TempDir, PathBuf, Activation) {
        let dir = TempDir::new("activation");
        let path = dir.path().join("deep/docker.sock");
        (dir, path, Activation::default())
    }

    /// Who waits in the queue of a unit's first socket.
    fn waits(activation: &Activation, unit: UnitId) -> usize {
        let copy = activation.sockets(unit)[0].0.try_clone_to_owned().unwrap();
        let listener = std::os::unix::net::UnixListener::from(copy);
        listener.set_nonblocking(true).unwrap();
        let count = std::iter::from_fn(|| listener.accept().ok()).count();
        listener.set_nonblocking(false).unwrap();
        count
    }

    #[test]
    fn a_socket_outlives_restarts_and_ends_with_the_supervisor() {
        let (_dir, path, mut activation) = fixture();
        let wanted = [unix(&path)];
        activation.open(UNIT, &wanted).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        activation.open(UNIT, &wanted).unwrap();
        assert_eq!(activation.sockets(UNIT)[0].1, "docker");
        assert_eq!(waits(&activation, UNIT), 1);
        activation.close();
        assert!(!path.exists() && activation.sockets(UNIT).is_empty());
    }

    #[test]
    fn a_change_of_mode_or_name_keeps_the_queue() {
        let (_dir, path, mut activation) = fixture();
        activation.open(UNIT, &[unix(&path)]).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let changed = Socket { mode: 0o600, name: "other".to_owned(), ..unix(&path) };
        activation.open(UNIT, &[changed]).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(activation.sockets(UNIT)[0].1, "other");
        assert_eq!(waits(&activation, UNIT), 1);
    }

    #[test]
    fn each_failure_is_told_and_the_others_are_open() {
        let (dir, path, mut activation) = fixture();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let tcp = Socket { listen: Listen::Tcp(address), ..unix(&path) };
        let nobody =
            Socket { group: Some("no-such-group".to_owned()), ..unix(&dir.path().join("x")) };
        let wanted = [tcp, unix(&path), nobody];
        let faults = activation.open(UNIT, &wanted).unwrap_err();
        let first = format!("listening on {address}: address already in use; ");
        assert!(faults.starts_with(&first) && faults.contains("no-such-group"), "{faults}");
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(activation.sockets(UNIT).len(), 1);

        drop(taken);
        let wanted = &wanted[..2];
        activation.open(UNIT, wanted).unwrap();
        assert_eq!(waits_on(address), Ok(()));
    }

    fn waits_on(address: std::net::SocketAddr) -> Result<(), String> {
        std::net::TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_socket_of_an_earlier_life_keeps_its_queue() {
        let (_dir, path, mut activation) = fixture();
        activation.open(UNIT, &[unix(&path)]).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let kept = activation.sockets(UNIT)[0].0.try_clone_to_owned().unwrap();
        let mut next = Activation::default();
        let elsewhere = unix(&path.with_file_name("other.sock"));
        next.resume(UNIT, &elsewhere, kept.try_clone().unwrap());
        assert!(next.sockets(UNIT).is_empty(), "it is another one");
        next.resume(UNIT, &unix(&path), kept);
        next.open(UNIT, &[unix(&path)]).unwrap();
        assert_eq!(waits(&next, UNIT), 1);
    }

    #[test]
    fn ids_may_change_and_units_may_go() {
        let (dir, path, mut activation) = fixture();
        let other = dir.path().join("other.sock");
        activation.open(UNIT, &[unix(&path)]).unwrap();
        activation.open(UnitId(2), &[unix(&other)]).unwrap();
        activation.renumber(|unit| (unit == UNIT).then_some(UnitId(7)));
        assert_eq!(activation.sockets(UnitId(7)).len(), 1);
        assert!(activation.sockets(UNIT).is_empty());
        assert!(path.exists() && !other.exists());
    }

    #[test]
    fn a_removed_file_is_made_anew_and_another_ones_is_left() {
        let (_dir, path, mut activation) = fixture();
        activation.open(UNIT, &[unix(&path)]).unwrap();
        fs::remove_file(&path).unwrap();
        activation.open(UNIT, &[unix(&path)]).unwrap();
        assert!(UnixStream::connect(&path).is_ok());

        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        activation.close();
        assert!(path.exists());
    }
}
