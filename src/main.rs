//! Arguments to mode; the only place where an error becomes an exit code.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use pisup::ctl::args::{self, Args, Command, Places, Setup, SetupRole};
use pisup::ctl::show::Look;
use pisup::ctl::{Failure, Screen};
use pisup::setup::doctor::judge::judge;
use pisup::setup::doctor::read::{self, Root};
use pisup::setup::doctor::wants::Wants;
use pisup::setup::{self, Request, Role, doctor};
use pisup::shell::Options;
use pisup::wire::ctl::code;

/// What a shell expects of a process that ^C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Helpers have command lines of their own, which no person writes.
    if let [_, name, rest @ ..] = words.as_slice()
        && let Some(code) = pisup::helper::main(name, rest.to_vec())
    {
        return ExitCode::from(code);
    }
    if let [name, test, rest @ ..] = words.as_slice()
        && test == "--self-test"
    {
        return ExitCode::from(test_self(name, rest));
    }
    let args = match args::parse(words) {
        Ok(args) => args,
        Err(error) => return ExitCode::from(tell_usage(&error)),
    };
    if matches!(args.command, Command::Supervise) {
        let Places { config, run, state } = args.places;
        return ExitCode::from(pisup::shell::supervise(&Options { config, run, state }));
    }
    let mut out = BufWriter::new(io::stdout());
    let mut screen =
        Screen { out: &mut out, look: look(), interrupts: pisup::sys::terminal::interrupts };
    let done = run(&args, &mut screen);
    let flushed = out.flush().map_err(Failure::Output);
    let done = done.and(flushed);
    ExitCode::from(exit_code(done))
}

fn run(args: &Args, screen: &mut Screen<'_>) -> Result<(), Failure> {
    match &args.command {
        // It has its own exit code and never comes here.
        Command::Supervise => Ok(()),
        Command::Setup(setup) => set_up(setup, &args.places.config, screen),
        Command::Doctor { is_json } => examine(&args.places.config, *is_json, screen),
        Command::Check { is_json } => {
            pisup::ctl::check::run(pisup::shell::load(&args.places.config), *is_json, screen)
        }
        Command::Ctl(ctl) => pisup::ctl::run(&args.places.run, ctl, screen),
    }
}

/// Whether this program could supervise here; asked by the one that does.
fn test_self(name: &OsString, places: &[OsString]) -> u8 {
    let words = [name.clone(), "check".into()].into_iter().chain(places.iter().cloned());
    let Places { config, run, state } = match args::parse(words) {
        Ok(args) => args.places,
        Err(error) => return tell_usage(&error),
    };
    let tested = pisup::shell::self_test(&Options { config, run, state });
    let told = tested.map_err(|faults| Failure::Failed(faults.join("\n")));
    exit_code(told.and_then(|text| writeln!(io::stdout(), "{text}").map_err(Failure::Output)))
}

/// Writes a configuration, and checks what came of it together with what was there.
fn set_up(setup: &Setup, config: &Path, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let (role, options) = match &setup.role {
        SetupRole::Master(options) => (Role::Master, options),
        SetupRole::Worker { master, options } => (Role::Worker(master.clone()), options),
    };
    let request = Request {
        role,
        profile: options.profile.clone(),
        with_board: options.with_board,
        is_forced: options.force,
        from: options.from.clone(),
        config: config.to_owned(),
        manifests: options.manifests.clone(),
        name: options.name.clone(),
        interface: options.interface.clone(),
        address: options.address.clone(),
        cidr: options.cidr.clone(),
    };
    setup::run(&request, pisup::shell::defaults, screen.out).map_err(|failure| match failure {
        setup::Failure::Failed(sentence) => Failure::Failed(sentence),
        setup::Failure::Output(error) => Failure::Output(error),
    })?;
    pisup::ctl::check::run(pisup::shell::load(config), false, screen)?;
    setup::tell_next(config, screen.out).map_err(Failure::Output)
}

/// Looks at this machine and tells what was found.
fn examine(config: &Path, is_json: bool, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let plan = pisup::shell::load(config);
    let wants = plan.map(|plan| Wants::of(&plan)).map_err(|errors| errors.len());
    let facts = read::facts(&Root::new("/"), read::live(), config, wants);
    let findings = judge(&facts);
    match doctor::tell(&findings, is_json, screen.out).map_err(Failure::Output)? {
        0 => Ok(()),
        failures => Err(Failure::Failed(format!("{failures} of {} fail", findings.len()))),
    }
}

/// The exit code of a result, after saying on standard error what is wrong.
fn exit_code(done: Result<(), Failure>) -> u8 {
    let Err(failure) = done else {
        return code::DONE;
    };
    let (code, is_silent) = match &failure {
        Failure::Failed(_) => (code::FAILED, false),
        Failure::Usage(_) => (code::USAGE, false),
        Failure::NotRunning => (code::NOT_RUNNING, true),
        Failure::NoSuchUnit(_) => (code::NO_SUCH_UNIT, false),
        Failure::NoSupervisor(_) => (code::NO_SUPERVISOR, false),
        Failure::TimedOut(_) => (code::TIMED_OUT, false),
        Failure::Interrupted(_) => (INTERRUPTED, false),
        // Who reads has seen enough, as in `pisup ctl logs | head`: that is no failure.
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => (code::DONE, true),
        Failure::Output(_) => (code::FAILED, false),
    };
    if !is_silent {
        let _ = writeln!(io::stderr(), "pisup: {failure}");
    }
    code
}

/// Help goes to standard output and is a success; what is wrong goes to standard error.
fn tell_usage(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    if error.use_stderr() {
        let _ = io::stderr().write_all(text.as_bytes());
        return code::USAGE;
    }
    exit_code(io::stdout().write_all(text.as_bytes()).map_err(Failure::Output))
}

fn look() -> Look {
    let is_terminal = io::stdout().is_terminal();
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    Look {
        is_terminal: is_terminal && !is_dumb,
        has_colours: is_terminal && !is_dumb && !is_set("NO_COLOR"),
        columns: if is_terminal { pisup::sys::terminal::columns() } else { None },
    }
}
