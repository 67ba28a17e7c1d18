//! The shell: owns every descriptor, carries events to the machine and does what it answers.

pub mod activation;
pub mod conditions;
pub mod exports;
pub mod history;
pub mod probe;
pub mod token;
pub mod watch;
