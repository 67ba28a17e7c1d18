//! The end of the machine: everybody is asked, then killed; disks are let go of; the power is cut.

use pisup::sys::init_link::Power;
use pisup::sys::{clock, power, reason};

use super::console::complain;
use super::run::{Init, TERM};

/// Milliseconds for what is left after the supervisor: until it is killed, and until the kernel
/// has buried it.
const TERM_MS: u64 = 5000;
const KILL_MS: u64 = 2000;
/// Milliseconds for disks to be written and let go of: a slow card with much to write. A dead one
/// does not keep the machine from ending.
const LET_GO_MS: u64 = 30_000;

/// The word that makes this program the helper that lets go of the disks.
pub const LET_GO: &str = "--let-go-of-disks";

/// What the helper does: it may allocate, and it may hang.
pub fn let_go() {
    // In a namespace the mounts are not ours to undo: behind them are the disks of others.
    if std::os::unix::process::parent_id() == 1 && power::sees_machine() {
        power::let_go(&mut |why| complain(format_args!("{why}")));
    }
}

impl Init {
    /// Comes back only if the kernel refuses.
    pub fn power_down(&mut self, power: Power) {
        self.say(format_args!(
            "{}",
            match power {
                Power::Off => "powering off",
                Power::Reboot => "rebooting",
                Power::Halt => "halting",
            }
        ));
        power::signal_all(TERM);
        if !self.await_nobody(clock::boottime().0 + TERM_MS) {
            self.say(format_args!("killing who did not end"));
            power::signal_all(pisup::sys::child::KILL);
            let _ = self.await_nobody(clock::boottime().0 + KILL_MS);
        }
        match self.start_let_go() {
            Ok(_) if self.await_helper(clock::boottime().0 + LET_GO_MS).is_none() => {
                self.say(format_args!("the disks do not answer; going on without them"));
            }
            Ok(_) => {}
            Err(why) => self.say(format_args!("the disks are not let go of: {why}")),
        }
        if let Err(errno) = power::switch(power) {
            self.say(format_args!("the kernel refuses: {}", reason(errno)));
        }
    }
}
