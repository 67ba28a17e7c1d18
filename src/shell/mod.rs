//! The shell: owns every descriptor, carries events to the machine and does what it answers.

pub mod activation;
pub mod capture;
pub mod conditions;
pub mod exports;
pub mod history;
pub mod journal;
pub mod log_file;
pub mod probe;
pub mod ring;
pub mod token;
pub mod watch;
