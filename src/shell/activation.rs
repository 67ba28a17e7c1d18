//! Listening sockets of units: made once, kept over restarts, handed to every run.
//!
//! A client that connects while its service is down waits in the socket's queue. This module
//! decides nothing about units; it owns their sockets.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::config::plan::{Listen, Socket};
use crate::machine::UnitId;
use crate::sys::socket::{self, Access, Blocking};
use crate::sys::{files, user};

/// The listening sockets of all units.
#[derive(Debug, Default)]
pub struct Activation(BTreeMap<UnitId, Vec<Listening>>);

#[derive(Debug)]
struct Listening {
    socket: OwnedFd,
    spec: Socket,
}

impl Activation {
    /// Opens what a unit asks for, and keeps what it has already.
    ///
    /// # Errors
    ///
    /// A sentence that names the address; the sockets before it stay open.
    pub fn open(&mut self, unit: UnitId, wanted: &[Socket]) -> Result<(), String> {
        let mut old = self.0.remove(&unit).unwrap_or_default();
        let mut result = Ok(());
        let mut open = Vec::new();
        for spec in wanted {
            if let Some(index) = old.iter().position(|each| each.spec == *spec) {
                open.push(old.swap_remove(index));
                continue;
            }
            match listen(spec) {
                Ok(socket) => open.push(Listening { socket, spec: spec.clone() }),
                Err(why) => result = Err(why),
            }
        }
        for listening in old {
            listening.close();
        }
        if !open.is_empty() {
            self.0.insert(unit, open);
        }
        result
    }

    /// Whether all sockets that a unit asks for are open.
    #[must_use]
    pub fn is_open(&self, unit: UnitId, wanted: &[Socket]) -> bool {
        self.0.get(&unit).map_or(0, Vec::len) == wanted.len()
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

    /// Closes all sockets and removes their files: nobody will answer there any more.
    pub fn close(&mut self) {
        let all = std::mem::take(&mut self.0);
        all.into_values().flatten().for_each(Listening::close);
    }
}

impl Listening {
    fn close(self) {
        if let Listen::Unix(path) = &self.spec.listen {
            let _ = files::remove(path);
        }
    }
}

fn listen(spec: &Socket) -> Result<OwnedFd, String> {
    let uid = spec.user.as_deref().map(user::user_id).transpose();
    let gid = spec.group.as_deref().map(user::group_id).transpose();
    let access = Access {
        mode: spec.mode,
        uid: uid.map_err(|error| error.to_string())?,
        gid: gid.map_err(|error| error.to_string())?,
    };
    let opened = match &spec.listen {
        Listen::Unix(path) => {
            if let Some(parent) = path.parent() {
                files::make_dir(&PathBuf::from(parent)).map_err(|fault| fault.to_string())?;
            }
            socket::listen_unix(path, access, Blocking::Yes)
        }
        Listen::Tcp(address) => socket::listen_tcp(*address, Blocking::Yes),
    };
    opened.map_err(|fault| fault.to_string())
}
