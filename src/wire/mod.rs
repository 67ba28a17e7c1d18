//! Bytes to values and back, without a system call; every parser survives any input.

pub mod check;
pub mod container;
pub mod ctl;
pub mod doctor;
pub mod engine;
pub mod envfile;
pub mod etcd;
pub mod frames;
pub mod http;
pub mod netlink;
pub mod network;
pub mod notify;
pub mod reply;
pub mod rtnl;
pub mod state;
