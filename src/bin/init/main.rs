//! pisup-init: the first process, or its child; starts `pisup supervise` and keeps it started.
//!
//! It cannot be what brings the node down, so it is small and does little. It reads no
//! configuration but its command line, it decides nothing about units, and the supervisor may die
//! in any way: services live on, what it deposited is kept ([`store`]), and the next one is told
//! who died meanwhile ([`exits`]). What they say to each other is in `sys::init_link`.
//!
//! * As PID 1 it makes the machine fit to live in ([`early`]), never ends, and cuts the power when
//!   that is asked ([`end`]). SIGINT (ctrl-alt-del) and SIGTERM are a reboot,
//!   SIGUSR2 and SIGPWR a power-off, SIGUSR1 a halt, as with busybox; SIGHUP starts a supervisor
//!   that was shut down, or makes it read its configuration.
//! * As the child of another init it is the subreaper of what it starts; SIGTERM and SIGINT are
//!   an ordered shutdown, and it ends when its supervisor has.
//!
//! **Memory.** After the first supervisor has started nothing is allocated: programs to be started
//! are made ready before (`sys::spawn::Standing`), the store and the exits are arrays, frames and
//! lines of text are built on the stack, and epoll fills a list that is long enough. What needs
//! memory when the machine goes down (the mounts) does so in a process of its own.
//!
//! **Faults.** All signals are blocked and read. A panic, or a fault of the processor that comes
//! again and again, gives PID 1 to the rescue shell: the services live on, and a person can look.

mod console;
mod early;
mod end;
mod exits;
mod keeper;
mod options;
mod run;
mod store;
mod talk;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use pisup::sys::every_signal;
use pisup::sys::init_link::Power;
use pisup::sys::power;

use options::Options;
use run::Init;

/// Files to try as a rescue shell; known before anything can go wrong.
static RESCUE: OnceLock<Vec<String>> = OnceLock::new();

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.iter().any(|word| word == end::LET_GO) {
        end::let_go();
        return ExitCode::SUCCESS;
    }
    let is_pid_1 = power::is_pid_1();
    let (options, unknown) = Options::parse(words);
    if !is_pid_1 && !unknown.is_empty() {
        console::complain(format_args!("{}\n{}", unknown.join("\n"), options::USAGE));
        return ExitCode::from(2);
    }
    let _ = RESCUE.set(options.rescue.clone());
    std::panic::set_hook(Box::new(|what| {
        console::complain(format_args!("this is a bug: {what}"));
        last_resort();
    }));
    if is_pid_1 {
        early::bring_up(&unknown);
    }
    match Init::new(&options, is_pid_1) {
        Ok(mut init) => {
            if is_pid_1 {
                init.run_hooks(&options.hooks);
            }
            ExitCode::from(init.run())
        }
        Err(why) => {
            console::complain(format_args!("{why}"));
            if is_pid_1 {
                last_resort();
            }
            ExitCode::FAILURE
        }
    }
}

/// Gives the first process to a shell; if there is none, the machine starts anew.
fn last_resort() {
    if !power::is_pid_1() {
        // The init above starts another one.
        std::process::abort();
    }
    every_signal::release();
    for file in RESCUE.get().into_iter().flatten() {
        let _ = Command::new(file).arg0("sh").exec();
    }
    let _ = power::switch(Power::Reboot);
}
