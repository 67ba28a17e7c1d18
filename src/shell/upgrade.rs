//! `pisup ctl upgrade`: another program in the place of this one, in the same process.
//!
//! 1. The new program is tried beside: `PROGRAM --self-test` has to load the configuration and the
//!    state file, within ten seconds.
//! 2. The state is written, and all descriptors that must not be lost are put into a socket which
//!    is the new program's standard input, as pisup-init does for a supervisor that it starts.
//! 3. A guard (`helper/guard.rs`) gets copies of them, and pisup-init the file of this program.
//! 4. The new program is executed. It resumes as after a death, tells the guard that it supervises,
//!    and answers the client. If it does not, the guard ends it, and this program comes back.

use std::path::{Path, PathBuf};

use super::children::{Child, Part};
use super::init_link::{notify_name, ready_name, socket_name};
use super::output::log_name;
use super::{Options, Shell, journal, load};
use crate::machine::{Exit, Run, Tick, UnitId, cause};
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::files::{self, Durable};
use crate::sys::init_link::{
    CLIENT, CONTROL, Frame, GUARD, LINK, LOCK, Link, Name, PROGRAM, WATCHDOG,
};
use crate::sys::signals::Arrived;
use crate::sys::spawn::{self, Request};
use crate::sys::stream::{self, Got};
use crate::sys::{own, program};
use crate::wire::ctl::{Done, Reply, code};

/// Milliseconds that a program may take to test itself.
const TEST_MS: u64 = 10_000;

/// Bytes of what it says that are told.
const SAID_MAX: usize = 4096;

/// The unit of a process that belongs to none.
const NOBODY: UnitId = UnitId(u16::MAX);

/// Where it is noted that an upgrade is under way: a supervisor that finds it undone tells.
const MARK: &str = "upgrade";

/// A program that is tried.
#[derive(Debug)]
pub struct Trial {
    client: u32,
    pid: u32,
    said: OwnedFd,
    program: PathBuf,
    pub(super) until: Tick,
    /// How its self-test ended.
    exit: Option<Exit>,
}

/// What `--self-test` does: everything that a start can fail by, and touches nothing.
///
/// # Errors
///
/// All that is wrong.
pub fn self_test(options: &Options) -> Result<String, Vec<String>> {
    load(&options.config)?;
    let record = super::record::Record::new(&options.run);
    let boot_id = crate::sys::clock::boot_id().unwrap_or_default();
    record.read(&boot_id).map_err(|why| vec![why])?;
    Ok(format!("pisup {}", env!("CARGO_PKG_VERSION")))
}

impl Shell {
    pub(super) fn answer_upgrade(&mut self, id: u32, program: Option<String>) {
        if self.trial.is_some() || self.machine.is_shutting_down() {
            let message = "not now: another upgrade or a shutdown is under way".to_owned();
            return self.refuse(id, code::FAILED, message);
        }
        let program = program.map_or_else(program::installed_path, PathBuf::from);
        if let Err(why) = self.try_program(id, &program) {
            self.refuse(id, code::FAILED, why);
        }
    }

    fn try_program(&mut self, client: u32, program: &Path) -> Result<(), String> {
        let (said, output) = stream::pipe().map_err(|fault| fault.to_string())?;
        let mut words = vec![program.display().to_string(), "--self-test".to_owned()];
        words.extend(self.places());
        let stdout = Some(output.as_fd());
        let request = Request { stdout, stderr: stdout, ..Request::new(words) };
        let pending = spawn::begin(&request).map_err(|error| error.to_string())?;
        let pid = pending.pid();
        let until = self.now.after(TEST_MS);
        let child = Child::new(NOBODY, Run(0), Part::SelfTest, self.now);
        self.children.add(pid, Child { pending: Some(pending), ..child });
        self.trial =
            Some(Trial { client, pid, said, program: program.to_owned(), until, exit: None });
        Ok(())
    }

    fn places(&self) -> Vec<String> {
        let Options { config, run, state } = &self.options;
        let places = [("--config", config), ("--run", run), ("--state", state)];
        let words = places.map(|(option, path)| [option.to_owned(), path.display().to_string()]);
        words.concat()
    }

    /// The new program does not come to an end with itself.
    pub(super) fn pass_trial(&mut self) {
        if let Some(trial) = self.trial.take_if(|t| t.exit.is_none() && t.until <= self.now) {
            self.disown(trial.pid);
            let late = cause::duration(TEST_MS);
            let message =
                format!("{}: its self-test took longer than {late}", trial.program.display());
            self.refuse(trial.client, code::FAILED, message);
        }
    }

    /// The self-test has ended.
    pub(super) fn tested(&mut self, pid: u32, exit: Exit) {
        if let Some(trial) = self.trial.as_mut().filter(|trial| trial.pid == pid) {
            trial.exit = Some(exit);
        }
    }

    /// Goes on with a program that was tried; the last thing of a turn, when all that has been
    /// taken from the kernel is written down.
    pub(super) fn end_trial(&mut self) {
        let is_free = !self.has_more_dead && self.inbox.is_empty();
        let Some(trial) = self.trial.take_if(|trial| is_free && trial.exit.is_some()) else {
            return;
        };
        let exit = trial.exit.unwrap_or(Exit::Unknown);
        let mut said = vec![0; SAID_MAX];
        let count = match stream::read(&trial.said, &mut said) {
            Ok(Got::Bytes(count)) => count,
            Ok(Got::Later | Got::End) | Err(_) => 0,
        };
        said.truncate(count);
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let name = trial.program.display();
        let message = if !exit.is_success() {
            format!("{name}: its self-test ended with {}: {said}", cause::exit(exit))
        } else if self.machine.is_shutting_down() {
            // What is asked for beyond it, and who waits for it, only this program knows.
            "no upgrade: a shutdown has begun meanwhile".to_owned()
        } else {
            log::info!("{name} ({said}) takes over");
            let why = self.hand_over(&trial);
            log::error!("no upgrade: {why}");
            format!("nothing has changed: {why}")
        };
        self.refuse(trial.client, code::FAILED, message);
        self.flush_client(trial.client);
    }

    /// It cannot even be executed.
    pub(super) fn not_tried(&mut self, why: &str) {
        if let Some(trial) = self.trial.take() {
            self.refuse(trial.client, code::FAILED, why.to_owned());
        }
    }

    /// Executes the new program; comes back only if that fails.
    fn hand_over(&mut self, trial: &Trial) -> String {
        if let Err(why) = self.publish_for_another() {
            return why;
        }
        let Some((near, far)) = self.greeted(trial.client) else {
            return "there is no room for all descriptors".to_owned();
        };
        let guard = match self.start_guard(trial) {
            Ok(guard) => guard,
            Err(why) => return why,
        };
        let mark = self.options.run.join(MARK);
        let name = trial.program.display().to_string();
        let mut arrived = Arrived::default();
        let is_handed =
            keep(&near, GUARD, guard.as_fd()) && near.say(&Frame::Begin, None) == Ok(true);
        let marked = files::write_atomic(&mark, name.as_bytes(), 0o600, Durable::No);
        let why = match marked {
            _ if !is_handed => "there is no room for all descriptors".to_owned(),
            Err(fault) => fault.to_string(),
            Ok(()) => {
                self.keep_program();
                journal::flush_at_end();
                let words = [vec![name], self.places(), vec!["supervise".to_owned()]].concat();
                self.signals.hold_back();
                arrived = self.signals.take();
                let why = if arrived.term || arrived.int || arrived.hup {
                    // It was told to this program, and the next one would not hear of it.
                    "a signal came in between".to_owned()
                } else {
                    program::replace(&trial.program, &words, &far).to_string()
                };
                self.signals.let_in();
                why
            }
        };
        // The guard may go.
        let _ = guard.say(&Frame::Begin, None);
        let _ = files::remove(&mark);
        self.init.forget(PROGRAM);
        self.obey(arrived);
        why
    }

    /// The old program, with copies of everything.
    fn start_guard(&self, trial: &Trial) -> Result<Link, String> {
        let (near, far) = self.greeted(trial.client).ok_or("there is no room for a guard")?;
        if near.say(&Frame::Begin, None) != Ok(true) {
            return Err("there is no room for a guard".to_owned());
        }
        let program = self.own_program.display().to_string();
        let mut words = vec![program.clone(), "upgrade-guard".to_owned(), own::pid().to_string()];
        words.extend([trial.program.display().to_string(), program]);
        words.extend(self.places());
        words.push("supervise".to_owned());
        let stderr = program::stderr();
        let request = Request {
            env: program::environment(),
            stdin: Some(far.as_fd()),
            stdout: Some(stderr.as_fd()),
            stderr: Some(stderr.as_fd()),
            ..Request::new(words)
        };
        spawn::spawn(&request).map_err(|error| error.to_string())?;
        Ok(near)
    }

    /// A socket with everything in it that a supervisor has.
    fn greeted(&self, client: u32) -> Option<(Link, OwnedFd)> {
        let (near, far) = Link::pair().ok()?;
        let mut is_whole = near.say(&Frame::Hello(self.init.is_pid_1()), None) == Ok(true);
        let mut put = |name: &str, fd| is_whole &= keep(&near, name, fd);
        if let Some(link) = self.init.link() {
            put(LINK, link);
        }
        put(LOCK, self.lock.as_fd());
        put(CONTROL, self.control.as_fd());
        if let Some(client) = self.clients.get(&client) {
            put(CLIENT, client.as_fd());
        }
        if let Some(watchdog) = self.watchdog_fd() {
            put(WATCHDOG, watchdog);
        }
        for (unit, spec, _) in self.machine.units() {
            for (index, (socket, _)) in self.activation.sockets(unit).into_iter().enumerate() {
                put(&socket_name(&spec.name, index), socket);
            }
            let Some(live) = self.lives.get(unit.index()) else {
                continue;
            };
            if let Some(capture) = &live.capture {
                put(&log_name(&spec.name), capture.as_fd());
            }
            if let Some(socket) = live.body.as_ref().and_then(|body| body.notify.as_ref()) {
                put(&notify_name(&spec.name), socket.as_fd());
            }
            if let Some(fd) = live.body.as_ref().and_then(|body| body.ready_fd.as_ref()) {
                put(&ready_name(&spec.name), fd.as_fd());
            }
        }
        is_whole.then_some((near, far))
    }

    /// From now on pisup-init starts the program that this process is.
    fn keep_program(&self) {
        match program::own_file() {
            Ok(file) => self.init.keep(PROGRAM, file.as_fd()),
            Err(fault) => log::warn!("{fault}"),
        }
    }

    /// This process supervises: whoever watched over its beginning, and whoever asked for it, is
    /// told; also if it is there because another one did not.
    pub(super) fn end_upgrade(&mut self) {
        let mark = self.options.run.join(MARK);
        if let Some(guard) = self.init.take(GUARD) {
            if Link::of(guard).say(&Frame::Begin, None) != Ok(true) {
                log::warn!("the guard of the upgrade does not listen");
            }
            self.keep_program();
            if let Some(client) = self.init.take(CLIENT) {
                let message = format!("pisup {} supervises now", env!("CARGO_PKG_VERSION"));
                let done = Reply::Done(Done { code: code::DONE, message });
                let _ = stream::send(&client, done.to_line().as_bytes());
            }
        } else if let Ok(name) = files::read_bounded(&mark, SAID_MAX) {
            let text = format!("the upgrade to {name} was undone: it did not supervise within 10s");
            log::error!("{text}");
            self.warnings.push(text);
        } else {
            return;
        }
        if let Err(fault) = files::remove(&mark) {
            log::warn!("{fault}");
        }
    }
}

fn keep(link: &Link, name: &str, fd: BorrowedFd<'_>) -> bool {
    Name::new(name).is_some_and(|name| link.say(&Frame::Kept(name), Some(fd)) == Ok(true))
}
