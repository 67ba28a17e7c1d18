//! pisup-init as the first process of a machine of namespaces, and as the child of another init.
//!
//! Needs root: every machine has pid, mount, network and host name namespaces of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "init/bare.rs"]
mod bare;
#[path = "init/exits.rs"]
mod exits;
#[path = "init/machine.rs"]
mod machine;
#[path = "init/watchdog.rs"]
mod watchdog;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use machine::{INIT, Machine, PISUP, Place, can_unshare, children, script, signal, state, until};

/// The signal by which the kernel ends the first process of a namespace that powers off.
const POWERED_OFF: i32 = 2;
/// The same for a reboot.
const REBOOTED: i32 = 1;

const CONT: u8 = 18;
const STOP: u8 = 19;
const TERM: u8 = 15;
const KILL: u8 = 9;

/// A unit that says a number a tenth of a second, and notes each of its starts.
const COUNTER: &str = r#"
[command]
exec = ["/bin/sh", "-c", """
    echo x >> HERE/starts; i=0
    while :; do i=$$((i+1)); echo $$i; sleep 0.02; done
"""]
"#;

const SLEEPER: &str = r#"
[command]
exec = ["sleep", "100000"]
"#;

#[test]
fn a_thousand_orphans_are_reaped_and_no_memory_is_taken() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    let here = place.0.display();
    // Each is left alone by its parent at once, and dies as a child of the first process.
    script(
        &place.at("supervisor"),
        &format!(
            "i=0; while [ $i -lt 500 ]; do (sleep 0.01 &) ; i=$((i+1)); done\n\
             echo x >> {here}/rounds; while [ ! -e {here}/go ]; do sleep 0.05; done\n\
             [ -e {here}/stay ] && exec sleep 1000; rm {here}/go; exit 1"
        ),
    );
    let machine =
        Machine::start(&place, &["--supervisor", &place.at("supervisor").to_string_lossy()]);
    let rounds =
        |count: usize| until("rounds", || (place.read("rounds").len() == 2 * count).then_some(()));
    let is_quiet = || (children(machine.init).len() == 1).then_some(());
    rounds(1);
    until("orphans gone", is_quiet);
    let before = heap(machine.init);
    fs::write(place.at("go"), "").unwrap();
    rounds(2);
    fs::write(place.at("stay"), "").unwrap();
    fs::write(place.at("go"), "").unwrap();
    until("orphans gone", is_quiet);
    assert_eq!(state(children(machine.init)[0]), Some('S'));
    assert_eq!(heap(machine.init), before, "bytes of heap");
}

/// Size of the heap, and what of it was ever touched.
fn heap(pid: u32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let heap = maps.lines().skip_while(|line| !line.ends_with("[heap]"));
    heap.skip(1).take_while(|line| !line.starts_with("Pss")).map(str::to_owned).collect()
}

#[test]
fn no_signal_ends_the_first_process() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    // Those that mean something are tried elsewhere; in here KILL and STOP have no effect.
    script(
        &place.at("supervisor"),
        &format!(
            "for round in 1 2 3 4 5 6 7 8 9 10; do for signal in $(seq 1 64); do\n\
             case $signal in 2|10|12|15|30) ;; *) kill -$signal 1 2>/dev/null ;; esac\n\
             done; done; echo x > {}/done; exec sleep 1000",
            place.0.display()
        ),
    );
    let program = place.at("supervisor");
    // HUP is passed on, and is not what this script is about.
    script(&place.at("immune"), &format!("trap '' HUP; exec {}", program.display()));
    let machine = Machine::start(&place, &["--supervisor", &place.at("immune").to_string_lossy()]);
    until("all signals", || (!place.read("done").is_empty()).then_some(()));
    let supervisor = children(machine.init)[0];
    signal(supervisor, KILL);
    until("another supervisor", || {
        children(machine.init).first().copied().filter(|pid| *pid != supervisor)
    });
}

#[test]
fn a_killed_supervisor_is_back_and_no_service_has_noticed() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    place.unit("counter", COUNTER);
    place.unit(
        "sleeper",
        &format!(
            "[unit]\nrequires = [\"counter\"]\nenabled = false\n{SLEEPER}[stop]\nkill = \"main\"\n"
        ),
    );
    let machine = Machine::supervise(&place, &[]);
    let counter = place.await_ready("counter")["pid"].clone();
    place.ctl(&["start", "sleeper"]);
    let sleeper = place.await_ready("sleeper")["pid"].clone();
    for round in 1..=2 {
        let old = machine.supervisor();
        signal(old, KILL);
        let start = Instant::now();
        until("another supervisor", || (machine.supervisor() != old).then_some(()));
        assert_eq!(place.await_ready("counter")["pid"], counter, "round {round}");
        // It was started by name, and runs, so it is wanted.
        assert_eq!(place.await_ready("sleeper")["pid"], sleeper);
        // At once after the first death (33 ms at rest), a second after the next one.
        assert!(start.elapsed() < Duration::from_secs(round * 3), "round {round}");
    }
    assert_eq!(place.read("starts"), "x\n", "nothing runs twice");
    // No line is lost: the last supervisor has all that the others have read, too.
    let (_, lines) = place.ctl(&["logs", "counter"]);
    let numbers: Vec<u32> = lines.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers[0] == 1 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{lines}");

    // It is a child of init now, and its end is told with its status.
    let (code, text) = place.ctl(&["kill", "ABRT", "sleeper"]);
    assert_eq!(code, Some(0), "{text}");
    until("its end", || (place.status("sleeper")["exit"]["signal"] == "ABRT").then_some(()));
    assert_ne!(place.await_ready("sleeper")["pid"], sleeper, "it was started again");
}

#[test]
fn who_runs_by_an_earlier_configuration_is_told_and_restarted_when_that_is_asked_for() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    place.unit("sleeper", SLEEPER);
    let machine = Machine::supervise(&place, &[]);
    let (before, old) = (place.await_ready("sleeper")["pid"].clone(), machine.supervisor());
    place.unit("sleeper", &SLEEPER.replace("100000", "200000"));
    signal(old, KILL);
    until("another supervisor", || (machine.supervisor() != old).then_some(()));
    let seen = place.await_ready("sleeper");
    assert_eq!(seen["pid"], before);
    assert!(seen["notes"].to_string().contains("runs by an earlier configuration"), "{seen}");
    assert_eq!(place.ctl(&["reload-config"]).0, Some(0));
    assert_ne!(place.await_ready("sleeper")["pid"], before);
    let (_, text) = place.ctl(&["reload-config"]);
    assert!(text.contains("nothing has changed"), "{text}");
}

#[test]
fn listening_sockets_outlive_the_supervisor() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    place.unit("listener", &format!("[socket]\nlisten = [\"HERE/listener.sock\"]\n{SLEEPER}"));
    let machine = Machine::supervise(&place, &[]);
    place.await_ready("listener");
    let path = place.at("listener.sock");
    let inode = |path: &std::path::Path| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).unwrap().ino()
    };
    let before = inode(&path);
    let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let old = machine.supervisor();
    signal(old, KILL);
    until("another supervisor", || (machine.supervisor() != old).then_some(()));
    place.await_ready("listener");
    assert_eq!(inode(&path), before, "the same socket, with who waits in its queue");
}

#[test]
fn five_deaths_call_a_person_and_services_go_on() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    let here = place.0.display();
    script(
        &place.at("supervisor"),
        &format!(
            "[ -e {here}/service ] || {{ setsid sleep 100000 & echo $! > {here}/service; }}\n\
             echo x >> {here}/tries; exit 1"
        ),
    );
    script(
        &place.at("rescue"),
        &format!(
            "kill -0 $(cat {here}/service) && cp {here}/tries {here}/rescued\n\
             while [ ! -e {here}/enough ]; do sleep 0.05; done"
        ),
    );
    let supervisor = place.at("supervisor");
    let rescue = place.at("rescue");
    let machine = Machine::start(
        &place,
        &["--supervisor", &supervisor.to_string_lossy(), "--rescue", &rescue.to_string_lossy()],
    );
    until("a person", || (!place.read("rescued").is_empty()).then_some(()));
    assert_eq!(place.read("rescued"), "x\n".repeat(5));
    machine.await_line("for the fifth time in a minute");
    fs::write(place.at("enough"), "").unwrap();
    until("another try", || (place.read("tries").len() > 10).then_some(()));
}

/// Its code is overwritten under its feet, by way of its memory file.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_broken_program_gives_way_to_a_shell() {
    use std::os::unix::fs::FileExt;
    let output = Command::new("nm").args(["-C", INIT]).output();
    let (true, Ok(output)) = (can_unshare(), output) else {
        return;
    };
    let symbols = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = symbols.lines().find(|line| line.ends_with("pisup::sys::child::reap_one")).unwrap();
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let offset = hexadecimal(line.split_whitespace().next().unwrap());

    let place = Place::new();
    let here = place.0.display();
    script(&place.at("supervisor"), "exec sleep 1000");
    script(&place.at("rescue"), &format!("echo $$ > {here}/rescued; exec sleep 1000"));
    let (supervisor, rescue) = (place.at("supervisor"), place.at("rescue"));
    let machine = Machine::start(
        &place,
        &["--supervisor", &supervisor.to_string_lossy(), "--rescue", &rescue.to_string_lossy()],
    );
    let sleeper = until("a supervisor", || children(machine.init).first().copied());
    let maps = fs::read_to_string(format!("/proc/{}/maps", machine.init)).unwrap();
    let base = hexadecimal(maps.split('-').next().unwrap());
    let memory = fs::File::options().write(true).open(format!("/proc/{}/mem", machine.init));
    // ud2
    memory.unwrap().write_all_at(&[0x0f, 0x0b], base + offset).unwrap();
    signal(sleeper, KILL);
    until("a shell", || (place.read("rescued") == "1\n").then_some(()));
}

#[test]
fn hooks_run_by_name_and_none_keeps_the_machine() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    let here = place.0.display();
    for (name, text) in [
        ("10-first", "echo first"),
        ("20-fails", "echo fails; exit 3"),
        ("30-hangs", "trap '' TERM; echo hangs; sleep 100000 & sleep 100000; echo late"),
        ("40-last", "echo last"),
        ("50-not-executable", "echo not-executable"),
        ("60-anybody", "echo anybody"),
    ] {
        script(&place.at("hooks").join(name), &format!("{{ {text}; }} >> {here}/hooked"));
    }
    for (name, mode) in [("50-not-executable", 0o644), ("60-anybody", 0o777)] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(place.at("hooks").join(name), mode).unwrap();
    }
    script(&place.at("supervisor"), &format!("echo supervisor >> {here}/hooked; exec sleep 1000"));
    let supervisor = place.at("supervisor");
    let machine = Machine::start(&place, &["--supervisor", &supervisor.to_string_lossy()]);
    until("the supervisor", || place.read("hooked").contains("supervisor").then_some(()));
    assert_eq!(place.read("hooked"), "first\nfails\nhangs\nlast\nsupervisor\n");
    let console = machine.console();
    assert!(console.contains("20-fails failed: ended with exit code 3"), "{console}");
    assert!(console.contains("30-hangs takes longer than 10 s: killed"), "{console}");
    until("its children gone too", || (children(machine.init).len() == 1).then_some(()));
}

#[test]
fn power_is_cut_after_the_last_unit() {
    if !can_unshare() {
        return;
    }
    for (how, expected) in [
        ("poweroff", POWERED_OFF),
        ("reboot", REBOOTED),
        ("USR2", POWERED_OFF),
        ("TERM", REBOOTED),
        ("INT", REBOOTED),
    ] {
        let place = Place::new();
        place.unit("counter", COUNTER);
        place.unit("sleeper", &format!("[unit]\nrequires = [\"counter\"]\n{SLEEPER}"));
        let mut machine = Machine::supervise(&place, &[]);
        place.await_ready("sleeper");
        if how.chars().all(char::is_lowercase) {
            let (code, text) = place.ctl(&[how]);
            assert_eq!(code, Some(0), "{text}");
        } else {
            let number = pisup::wire::ctl::signal_number(how).unwrap();
            signal(machine.init, number);
        }
        assert_eq!(machine.await_signal(), Some(expected), "{how}:\n{}", machine.console());
        let console = machine.console();
        let at = |text: &str| console.find(text).unwrap_or_else(|| panic!("{text}:\n{console}"));
        assert!(at("sleeper: stopping -> down") < at("counter: stopping -> down"));
        assert!(at("counter: stopping -> down") < at("all units are down"));
    }
}

#[test]
fn a_shutdown_without_more_waits_in_quiet() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    place.unit("sleeper", SLEEPER);
    let mut machine = Machine::supervise(&place, &[]);
    place.await_ready("sleeper");
    assert_eq!(place.ctl(&["shutdown"]).0, Some(0));
    machine.await_line("all is down");
    until("nobody", || children(machine.init).is_empty().then_some(()));
    signal(machine.init, 1);
    place.await_ready("sleeper");
    assert_eq!(place.ctl(&["shutdown"]).0, Some(0));
    until("nobody", || children(machine.init).is_empty().then_some(()));
    signal(machine.init, pisup::wire::ctl::signal_number("PWR").unwrap());
    assert_eq!(machine.await_signal(), Some(POWERED_OFF));
}

#[test]
fn a_supervisor_that_hangs_is_replaced() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    place.unit("sleeper", SLEEPER);
    let machine = Machine::supervise(&place, &["--hang-after", "3"]);
    let pid = place.await_ready("sleeper")["pid"].clone();
    let old = machine.supervisor();
    signal(old, STOP);
    until("another supervisor", || {
        children(machine.init).iter().all(|pid| *pid != old).then_some(())
    });
    machine.await_line("hangs: it is killed and replaced");
    assert_eq!(place.await_ready("sleeper")["pid"], pid);
    // The new one is left alone for longer than the old one was.
    let new = machine.supervisor();
    let start = Instant::now();
    until("patience", || (start.elapsed() > Duration::from_secs(5)).then_some(()));
    assert_eq!(machine.supervisor(), new);
}

/// Nobody who sleeps well is asked whether he does.
#[test]
fn an_idle_supervisor_is_watched_and_not_woken() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    // The last deadline of a unit that came up is the end of its probation.
    place.unit("sleeper", &format!("{SLEEPER}[restart]\nstable = \"1s\"\n"));
    let machine = Machine::supervise(&place, &["--hang-after", "3"]);
    place.await_ready("sleeper");
    let supervisor = machine.supervisor();
    until("sleep", || pisup::sys::child::sleeps_in_epoll(supervisor).then_some(()));
    // Several looks long: what was under way may wake it, then a whole stretch of quiet comes.
    until("quiet", || {
        let (before, start) = (switches(supervisor), Instant::now());
        until("a stretch", || (start.elapsed() > Duration::from_secs(4)).then_some(()));
        (switches(supervisor) == before).then_some(())
    });
    assert_eq!(machine.supervisor(), supervisor);
    assert!(switches(machine.init) > 0, "the count counts");
}

/// How often a process went to sleep.
fn switches(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn as_a_child_term_is_an_ordered_shutdown() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    place.unit("counter", COUNTER);
    place.unit("sleeper", &format!("[unit]\nrequires = [\"counter\"]\n{SLEEPER}"));
    let console = fs::File::create(place.at("console")).unwrap();
    // In a pid namespace all the same, so that nothing survives the test.
    let mut child = Command::new("unshare")
        .args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sh", "-c"])
        .arg(format!(
            "{INIT} -- {} & echo $! > {}; wait $!",
            place.places().join(" "),
            place.at("pid").display()
        ))
        .stdin(Stdio::null())
        .stderr(console)
        .spawn()
        .unwrap();
    let pid = place.await_ready("sleeper")["pid"].clone();
    let shell = until("a shell", || children(child.id()).first().copied());
    let init = children(shell)[0];
    let supervisor = children(init)[0];
    signal(supervisor, KILL);
    until("another supervisor", || {
        children(init).into_iter().any(|pid| pid > supervisor).then_some(())
    });
    assert_eq!(place.await_ready("sleeper")["pid"], pid, "init is the subreaper");
    let (code, text) = place.ctl(&["poweroff"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("pisup-init is not PID 1 here"), "{text}");
    signal(init, TERM);
    let status = until("the end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let console = place.read("console");
    let at = |text: &str| console.find(text).unwrap_or_else(|| panic!("{text}:\n{console}"));
    assert!(at("sleeper: stopping -> down") < at("counter: stopping -> down"));
}

#[test]
fn wrong_words_are_refused_as_a_child_only() {
    let output = Command::new(INIT).arg("--fast").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("--fast is no option") && text.contains("usage: pisup-init"), "{text}");
}

#[test]
fn it_carries_no_toml_json_or_http() {
    let Ok(output) = Command::new("nm").args(["-C", INIT]).output() else {
        return;
    };
    let symbols = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(symbols.contains("pisup::sys::"), "nm tells nothing");
    for name in ["toml", "serde", "httparse", "clap_builder", "simple_logger"] {
        let found = symbols.lines().find(|line| line.contains(&format!("{name}::")));
        assert_eq!(found, None);
    }
    for name in ["pisup::wire", "pisup::config", "pisup::shell", "pisup::ctl"] {
        let found = symbols.lines().find(|line| line.contains(name));
        assert_eq!(found, None);
    }
    // The other program does carry them: the names are spelt as nm does.
    let output = Command::new("nm").args(["-C", PISUP]).output().unwrap();
    let symbols = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in ["toml", "serde", "httparse", "clap_builder", "pisup::wire"] {
        assert!(symbols.contains(&format!("{name}::")), "{name}");
    }
}
