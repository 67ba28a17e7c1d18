//! The second door: a socket for those who may ask and not tell, where node.toml names their group.
//!
//! The kernel lets in who may write to its file. What they may ask is
//! [`crate::wire::ctl::Request::is_question`].

use super::Shell;
use super::token::Token;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::poll::Interest;
use crate::sys::socket::{self, Access, Blocking};
use crate::sys::{files, user};
use crate::wire::ctl::{QUERY_SOCKET_NAME, code};

/// The socket, as long as the configuration wants it.
#[derive(Debug)]
pub struct Queries {
    socket: OwnedFd,
    group: String,
}

impl AsFd for Queries {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Shell {
    /// Opens, keeps or closes the door as the configuration in force says.
    pub(super) fn follow_queries(&mut self) {
        let wanted = self.plan.node.read_group.clone();
        if self.queries.as_ref().map(|queries| &queries.group) == wanted.as_ref() {
            return;
        }
        if let Some(queries) = self.queries.take() {
            self.poll.remove(queries.as_fd());
            let _ = files::remove(&self.options.run.join(QUERY_SOCKET_NAME));
            // Whoever came in by it came by a right that is gone.
            self.drop_asking_clients();
        }
        if let Some(group) = wanted
            && let Err(why) = self.open_queries(&group)
        {
            log::warn!("nobody may only ask: {why}");
            self.warnings.push(format!("nobody may only ask: {why}"));
        }
    }

    fn open_queries(&mut self, group: &str) -> Result<(), String> {
        let gid = user::group_id(group).map_err(|why| why.to_string())?;
        let path = self.options.run.join(QUERY_SOCKET_NAME);
        let access = Access { mode: 0o660, uid: None, gid: Some(gid) };
        let opened = socket::listen_unix(&path, access, Blocking::No).and_then(|socket| {
            self.poll.add(socket.as_fd(), Token::Queries.to_number(), Interest::Read)?;
            Ok(socket)
        });
        let socket = opened.map_err(|fault| fault.to_string())?;
        self.queries = Some(Queries { socket, group: group.to_owned() });
        Ok(())
    }

    /// Answers one that asks for more than it may have.
    pub(super) fn refuse_to_act(&mut self, id: u32) {
        let message = "no permission: members of read-group may ask for status, why, logs and \
                       events; for all else use sudo, or become a member of the group that owns \
                       ctl.sock";
        self.refuse(id, code::NO_SUPERVISOR, message.to_owned());
    }
}
