//! Before the supervisor: the machine is made fit to live in, then the board's own steps.

use std::path::Path;

use pisup::sys::{board, child, clock, power, reason};

use super::console::{Words, complain};
use super::run::{Init, program};

/// Milliseconds that a hook may take.
const HOOK_MS: u64 = 10_000;

/// Mounts, console, host name, loopback, keyboard. What cannot be had is told.
pub fn bring_up(unknown: &[String]) {
    board::mount_all(&mut |why| complain(format_args!("{why}")));
    if let Err(errno) = board::open_console() {
        complain(format_args!("opening the console: {}", reason(errno)));
    }
    for word in unknown {
        complain(format_args!("{word}"));
    }
    for result in [board::set_host_name(Path::new("/etc/hostname")), board::loopback_up()] {
        if let Err(why) = result {
            complain(format_args!("{why}"));
        }
    }
    // A container has no keyboard.
    if let Err(errno) = board::tame_ctrl_alt_del().or_else(|errno| match power::sees_machine() {
        true => Err(errno),
        false => Ok(()),
    }) {
        complain(format_args!("ctrl-alt-del stays as it is: {}", reason(errno)));
    }
}

impl Init {
    /// Runs the executables of a directory by name. One that fails is told and passed over, one
    /// that takes longer than ten seconds is killed with its session.
    pub fn run_hooks(&mut self, dir: &Path) {
        let hooks = board::executables(dir).unwrap_or_else(|why| {
            self.say(format_args!("{why}"));
            Vec::new()
        });
        for hook in hooks {
            self.run_hook(&hook);
        }
    }

    fn run_hook(&mut self, hook: &str) {
        let started = program(vec![hook.to_owned()]).map_err(|error| error.to_string());
        let started = started.and_then(|program| self.start_helper(&program));
        let pid = match started {
            Ok(pid) => pid,
            Err(why) => return self.say(format_args!("{hook}: {why}")),
        };
        let until = clock::boottime().0 + HOOK_MS;
        match self.await_helper(until) {
            Some(child::Exit::Code(0)) => {}
            Some(exit) => self.say(format_args!("{hook} failed: {}", Words(exit))),
            None => {
                self.say(format_args!("{hook} takes longer than 10 s: killed, passed over"));
                let _ = child::signal_group(pid, child::KILL);
                let _ = child::signal(None, pid, child::KILL);
                let _ = self.await_helper(until + HOOK_MS);
            }
        }
    }
}
