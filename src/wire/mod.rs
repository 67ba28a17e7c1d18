//! Bytes to values and back, without a system call; every parser survives any input.

pub mod ctl;
pub mod envfile;
pub mod http;
pub mod netlink;
pub mod network;
pub mod notify;
pub mod reply;
pub mod rtnl;
