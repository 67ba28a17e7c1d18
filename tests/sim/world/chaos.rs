//! What goes wrong from outside: signals, faults, crashes, jumps of the clock, people.

use super::{Event, Groups, World};
use crate::sys::Errno;

/// Errors come in bursts of so many milliseconds, once in so many calls.
const BURSTS: [(u64, u64); 4] = [(300, 2), (2_000, 8), (10_000, 40), (40_000, 3)];

impl World {
    /// What the system refuses now, of these.
    pub fn draw_fault(&mut self, errors: &[Errno]) -> Result<(), Errno> {
        let Some(rate) = self.fault_rate.filter(|_| !errors.is_empty()) else {
            return Ok(());
        };
        if !self.rng.one_in(rate) {
            return Ok(());
        }
        let errno = *self.rng.pick(errors);
        *self.counts.faults.entry(name_of(errno)).or_default() += 1;
        self.tell(|| format!("  fault {}", name_of(errno)));
        Err(errno)
    }

    pub fn chaos(&mut self) {
        if self.is_calm() {
            return;
        }
        if self.counts.events >= self.wild_events {
            return self.begin_calm();
        }
        let again = if self.rng.one_in(8) { 20_000 } else { 800 };
        let again = self.rng.below(again);
        self.at(again, Event::Chaos);
        match self.rng.below(22) {
            0..3 => self.hit_process(),
            3..8 => self.new_client(),
            8 => self.edit(),
            9 if self.groups_are != Groups::None => self.plan_crash(),
            10 | 11 => {
                let (span, rate) = *self.rng.pick(&BURSTS);
                self.fault_rate = Some(rate);
                self.at(span, Event::FaultsEnd);
            }
            12 => {
                let by = self.rng.below(4_000_000_000) as i64 - 2_000_000_000;
                self.set_wall(by * 100);
                self.is_synced = self.rng.one_in(2);
            }
            13 => {
                let has_route = !self.has_route;
                self.set_route(has_route);
            }
            14 => self.move_disk(),
            15 => self.is_sink_full = !self.is_sink_full,
            16 => self.ping(),
            17 => self.signals.child = true,
            18 if self.rng.one_in(20) => self.signals.term = true,
            19 if self.init.is_there && self.rng.one_in(4) => {
                self.init.to_supervisor.push_back(None);
            }
            20 => self.ask_for_upgrade(),
            21 => self.move_engine(),
            _ => {}
        }
    }

    fn hit_process(&mut self) {
        let live: Vec<u64> =
            self.procs.values().filter(|p| !p.is_dead()).map(|each| each.serial).collect();
        if !live.is_empty() {
            let serial = *self.rng.pick(&live);
            let number = *self.rng.pick(&[9, 9, 15, 11, 19, 18]);
            self.tell(|| format!("  somebody sends signal {number}"));
            self.signal(serial, number);
        }
    }

    /// The configuration is edited, and perhaps read again.
    fn edit(&mut self) {
        let mut rng = self.rng.clone();
        self.graph.mutate(&mut rng);
        self.rng = rng;
        self.counts.count("edit");
        if self.rng.one_in(2) {
            self.signals.hup = true;
        }
    }

    /// The supervisor is killed, at one of its next calls.
    fn plan_crash(&mut self) {
        if self.is_up {
            let after = if self.rng.one_in(2) { 30 } else { 1_500 };
            self.crash_at = Some(self.counts.calls + 1 + self.rng.below(after));
        }
    }

    /// A disk that a unit waits for is there, or is not.
    fn move_disk(&mut self) {
        let index = self.rng.index(self.graph.units.len());
        let path = self.graph.units[index].wait_path();
        let directory = path.rsplit_once('/').map(|(directory, _)| directory.to_owned());
        let Some(directory) = directory else {
            return;
        };
        if self.files.is_dir(&directory) {
            self.remove_tree(&directory);
        } else {
            self.make_dir(&directory);
            let _ = self.write_file(&path, b"x");
        }
    }
}

/// For people.
fn name_of(errno: Errno) -> &'static str {
    match errno {
        Errno::AGAIN => "EAGAIN",
        Errno::NOMEM => "ENOMEM",
        Errno::MFILE => "EMFILE",
        Errno::NFILE => "ENFILE",
        Errno::NOSPC => "ENOSPC",
        Errno::ROFS => "EROFS",
        Errno::INTR => "EINTR",
        Errno::NOBUFS => "ENOBUFS",
        Errno::IO => "EIO",
        Errno::PIPE => "EPIPE",
        _ => "another",
    }
}
