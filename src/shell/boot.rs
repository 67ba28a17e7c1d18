//! From a command line to a running supervisor, and from its end to an exit code.

use std::path::Path;

use super::activation::Activation;
use super::conditions::Conditions;
use super::init_link::{InitLink, socket_name};
use super::live::Live;
use super::load::load_when_told;
use super::output::log_name;
use super::record::Record;
use super::token::Token;
use super::watching::Watching;
use super::{Options, Shell, journal};
use crate::config::plan::Plan;
use crate::machine::{Event, Machine, UnitId};
use crate::sys::cgroup::Cgroups;
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::init_link::{CONTROL, LOCK};
use crate::sys::notifier::Notifier;
use crate::sys::poll::{Interest, Poll};
use crate::sys::signals::{Arrived, Signals};
use crate::sys::{child, clock, config_dir, files, own, socket, user};
use crate::wire::ctl::SOCKET_NAME;

/// Milliseconds that the last output may take to its files.
const LOG_WRITERS_MS: u64 = 2_000;

/// What it means where the kernel does not know subreapers.
const NO_SUBREAPER: &str = "orphans are not left to the supervisor (no PR_SET_CHILD_SUBREAPER)";

/// The group whose members may talk to the supervisor.
const CONTROL_GROUP: &str = "pisup";

/// Runs the supervisor in the foreground; the answer is its exit code.
#[must_use]
pub fn supervise(options: &Options) -> u8 {
    if let Err(fault) = journal::install(log::LevelFilter::Info) {
        // Without a standard error there is nobody to tell, and the units still want to live.
        let _ = fault;
    }
    own::set_umask();
    own::raise_descriptors();
    let code = match start(options) {
        Ok(mut shell) => {
            let code = shell.live();
            shell.say_goodbye();
            code
        }
        Err(faults) => {
            journal::tell_faults(&faults);
            1
        }
    };
    journal::flush_at_end();
    code
}

/// Everything that can go wrong before the first unit starts.
fn start(options: &Options) -> Result<Shell, Vec<String>> {
    let plan = load_when_told(&options.config, |missing| {
        log::warn!("waiting for the network, which has to say what node.toml does not");
        journal::tell_faults(missing);
        journal::flush_at_end();
    })?;
    let one = |fault: String| vec![fault];
    for directory in [&options.run, &options.run.join("notify")] {
        files::make_dir(directory).map_err(|fault| one(fault.to_string()))?;
        config_dir::check_own_folder(directory).map_err(one)?;
    }
    let mut init = InitLink::open().map_err(|fault| one(fault.to_string()))?;
    let path = options.run.join("lock");
    let lock = init.take(LOCK).map_or_else(|| files::lock(&path), Ok);
    let lock = lock.map_err(|fault| one(fault.to_string()))?;
    let state = files::make_dir(&options.state);
    if state.is_ok() {
        // What is kept there becomes part of command lines.
        config_dir::check_own_folder(&options.state).map_err(one)?;
    }
    let mut shell = Shell::new(options.clone(), plan, init, lock).map_err(one)?;
    if let Err(fault) = state {
        // A root that is read-only must not keep the node down.
        shell.warnings.push(format!("nothing is kept over a power cut: {fault}"));
    }
    Ok(shell)
}

impl Shell {
    fn new(
        options: Options,
        plan: Plan,
        mut init: InitLink,
        lock: OwnedFd,
    ) -> Result<Self, String> {
        let text = |fault: crate::sys::Fault| fault.to_string();
        let (mut warnings, now) = (Vec::new(), clock::boottime());
        let poll = Poll::new().map_err(text)?;
        let signals = Signals::install().map_err(|error| error.to_string())?;
        let gid = user::group_id(CONTROL_GROUP).ok();
        let listen = || socket::listen_ctl(&options.run.join(SOCKET_NAME), gid).map_err(text);
        let control = init.take(CONTROL).map_or_else(listen, Ok)?;
        if child::become_subreaper().is_err() {
            warnings.push(NO_SUBREAPER.to_owned());
        }
        // It started in our group, and moves aside with us where that has to be empty.
        let above = init.is_up().then(own::parent);
        let (cgroups, notes) = Cgroups::discover(&options.run, above.as_slice());
        warnings.extend(notes);
        let specs = || plan.units.iter().map(|unit| unit.spec.clone()).collect::<Vec<_>>();
        let boot_id = clock::boot_id().unwrap_or_default();
        let record = Record::new(&options.run);
        let (machine, remembered) = record.machine(specs(), &boot_id, now).unwrap_or_else(|why| {
            warnings.push(why);
            (Machine::new(specs(), now.0), None)
        });
        let mut shell = Self {
            lives: plan.units.iter().map(|_| Live::new(now)).collect(),
            children: super::Children::default(),
            inbox: std::collections::VecDeque::new(),
            clients: std::collections::BTreeMap::new(),
            next_client: 0,
            activation: Activation::default(),
            started: now,
            changes: 0,
            reloads: 0,
            touched: std::collections::BTreeSet::new(),
            deaf_until: None,
            looked: now,
            has_more_dead: true,
            refused: None,
            halted: None,
            options,
            plan,
            machine,
            poll,
            signals,
            init,
            watchdog: None,
            control,
            queries: None,
            cgroups,
            conditions: Conditions::new(Token::Network.to_number()),
            watching: Watching::new().map_err(text)?,
            above: Notifier::from_env(),
            own_program: own::program(),
            boot_id,
            record,
            remembered,
            trial: None,
            lock,
            init_until: None,
            warnings,
            now,
        };
        shell.listen()?;
        Ok(shell)
    }

    fn listen(&mut self) -> Result<(), String> {
        let text = |fault: crate::sys::Fault| fault.to_string();
        let signals = Token::Signals.to_number();
        self.poll.add(self.signals.as_fd(), signals, Interest::Read).map_err(text)?;
        let watch = Token::Watch.to_number();
        self.poll.add(self.watching.as_fd(), watch, Interest::Read).map_err(text)?;
        let control = Token::Control.to_number();
        self.poll.add(self.control.as_fd(), control, Interest::Read).map_err(text)?;
        self.listen_to_init().map_err(text)?;
        if self.remembered.is_none() {
            self.forget_output();
        }
        for index in 0..self.plan.units.len() {
            if let Ok(index) = u16::try_from(index) {
                self.settle_in(UnitId(index));
            }
        }
        self.follow_watchdog();
        self.follow_queries();
        Ok(())
    }

    /// What a unit has before its first start: sockets, watches, and values of the last boot.
    pub(super) fn settle_in(&mut self, unit: UnitId) {
        let Some(plan) = self.plan.units.get(unit.index()) else {
            return;
        };
        for (index, socket) in plan.sockets.iter().enumerate() {
            if let Some(fd) = self.init.take(&socket_name(&plan.spec.name, index)) {
                self.activation.resume(unit, socket, fd);
            }
        }
        let is_heard = self.init.has(&log_name(&plan.spec.name));
        let opened = self.activation.open(unit, &plan.sockets);
        self.keep_sockets(unit);
        if let Err(why) = opened {
            self.note(unit, why);
        }
        if is_heard {
            self.open_capture(unit);
        }
        self.watch_exports(unit);
    }

    /// From the first start to the end of the last unit.
    fn live(&mut self) -> u8 {
        for note in self.plan.notes.iter().chain(&self.warnings) {
            log::warn!("{note}");
        }
        log::info!("supervising {} units of {}", self.plan.units.len(), config_name(&self.options));
        match self.remembered.take() {
            Some((state, newcomers)) => self.resume(state, newcomers),
            None => {
                self.find_leftovers();
                self.inbox.push_back(Event::Boot);
                self.want_leftovers();
            }
        }
        self.pump();
        // Not when all units are ready: that may take until an SD card has been replaced.
        self.above.tell("READY=1");
        self.end_upgrade();
        self.init.forget_unclaimed();
        if let Err(fault) = self.run() {
            log::error!("{fault}");
            return 1;
        }
        let undead = self.halted.take().unwrap_or_default();
        for unit in &undead {
            log::error!(
                "{} will not die: it was killed and is still there",
                self.machine.name(*unit)
            );
        }
        0
    }

    /// What the outside world asks of the supervisor itself.
    pub(super) fn on_signals(&mut self) {
        let arrived = self.signals.take();
        self.obey(arrived);
        self.on_child();
    }

    pub(super) fn obey(&mut self, arrived: Arrived) {
        if arrived.term || arrived.int {
            self.shut_down();
        }
        if arrived.hup {
            self.reload_by_signal();
        }
    }

    /// The last words to those who wait, and the end of what only a living supervisor has.
    fn say_goodbye(&mut self) {
        let ids: Vec<u32> = self.clients.keys().copied().collect();
        for id in ids {
            if let Some(client) = self.clients.get(&id)
                && matches!(client.asking, super::client::Asking::Job(_))
            {
                self.done(id, crate::wire::ctl::code::DONE, "everything is down".to_owned());
                self.flush_client(id);
            }
        }
        self.remove_control();
        self.forget_record();
        self.forget_output();
        self.activation.close();
        self.end_leftovers();
        self.end_log_writers();
        for live in &mut self.lives {
            if let Some(group) = live.group.take() {
                let _ = group.remove();
            }
        }
        self.cgroups.remove();
        self.close_watchdog();
        self.init.say_goodbye();
        log::info!("all units are down");
    }
}

impl Shell {
    /// Lets those who write output to files end with their pipes: as PID 1's only child we would
    /// take them with us. A disk that is dead is not waited for.
    fn end_log_writers(&mut self) {
        for live in &mut self.lives {
            live.capture = None;
        }
        let until = self.now.after(LOG_WRITERS_MS);
        let Ok(mut poll) = Poll::new() else {
            return;
        };
        let token = Token::Signals.to_number();
        let is_heard = poll.add(self.signals.as_fd(), token, Interest::Read).is_ok();
        let mut ready = Vec::new();
        while is_heard && self.children.writes() && self.now < until {
            if poll.wait(Some(until.since(self.now)), &mut ready).is_err() {
                return;
            }
            let _ = self.signals.take();
            for (pid, _) in child::reap(usize::MAX).dead {
                self.children.remove(pid);
            }
            self.look_at_clock();
        }
    }
}

fn config_name(options: &Options) -> std::path::Display<'_> {
    Path::display(&options.config)
}
