//! How a supervisor learns of the ends of processes that are not its children.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pisup::sys::init_link::{Frame, Heard, Link};
use serde_json::Value;

use super::machine::{Machine, PISUP, Place, can_unshare, children, script, signal, state, until};
use super::{CONT, KILL, STOP};

/// A service that notes its number, and ends with 42 when it is asked to.
const SERVICE: &str = r#"
[command]
exec = ["/bin/sh", "-c", """
    trap 'exit 42' TERM; echo $$$$ > HERE/number
    while :; do sleep 0.02; done
"""]
[ready]
file = "HERE/number"
"#;

/// Ends the service, and waits until pisup-init has buried it.
const BURY: &str = "pid=$(cat HERE/number); kill $pid; while kill -0 $pid; do sleep 0.01; done";

/// What is told of the service when its supervisor was killed, and `second` was in the place of
/// the next one.
fn told_after(second: &str) -> Value {
    let place = Place::new();
    place.unit("service", SERVICE);
    let here = place.0.display().to_string();
    let second = second.replace("BURY", BURY).replace("HERE", &here);
    script(
        &place.at("supervisor"),
        &format!(
            "echo x >>{here}/starts\n\
             if [ $(wc -l <{here}/starts) = 2 ]; then\n{second}\nfi\n\
             exec {PISUP} \"$@\""
        ),
    );
    let machine =
        Machine::supervise(&place, &["--supervisor", &place.at("supervisor").to_string_lossy()]);
    let field = |seen: &Value, name: &str| seen.get(name).cloned().unwrap_or_default();
    let before = field(&place.await_ready("service"), "pid");
    signal(machine.supervisor(), KILL);
    let after = until("another run", || {
        let seen = place.status("service");
        (field(&seen, "ready") == true && field(&seen, "pid") != before).then_some(seen)
    });
    assert_eq!(field(&after, "starts"), 2, "{after}");
    field(&after, "exit")
}

/// It is too late for the greeting: that was in the link when the supervisor was started.
#[test]
fn an_end_between_the_greeting_and_the_look_is_asked_for() {
    if can_unshare() {
        assert_eq!(told_after("BURY")["code"], 42);
    }
}

#[test]
fn an_end_that_was_told_to_one_who_died_at_once_is_told_to_the_next() {
    if can_unshare() {
        assert_eq!(told_after("BURY; exit 1")["code"], 42);
    }
}

/// More than pisup-init buries in one turn.
const ORPHANS: usize = 100;
/// So many of them the first supervisor has written down.
const RECORDED: u32 = 60;

#[test]
fn who_asks_is_told_of_all_and_who_comes_next_of_what_was_not_recorded() {
    if !can_unshare() {
        return;
    }
    let place = Place::new();
    let own = std::env::current_exe().unwrap();
    script(
        &place.at("supervisor"),
        &format!(
            "SPEAKER_PLACE={} exec {} --ignored --exact exits::speaker",
            place.0.display(),
            own.display()
        ),
    );
    let machine =
        Machine::start(&place, &["--supervisor", &place.at("supervisor").to_string_lossy()]);
    let heard = |run: usize| place.read(&format!("heard-{run}"));
    until("the orphans", || (!place.read("orphans").is_empty()).then_some(()));
    assert_eq!(heard(1), "begin\n", "the greeting");
    signal(machine.init, STOP);
    fs::write(place.at("go"), "").unwrap();
    // Dead, and not yet buried: who asks now is not told what there was, but what there is.
    until("their end", || {
        let dead = children(machine.init).into_iter().filter(|pid| state(*pid) == Some('Z'));
        (dead.count() == ORPHANS).then_some(())
    });
    fs::write(place.at("ended"), "").unwrap();
    until("the question", || place.at("asked").exists().then_some(()));
    assert_eq!(heard(1), "begin\n");
    signal(machine.init, CONT);

    until("a third supervisor", || place.at("heard-3").exists().then_some(()));
    let first = heard(1);
    let told: Vec<&str> = first.lines().collect();
    assert_eq!((told[0], told[ORPHANS + 1]), ("begin", "begin"), "{told:?}");
    let mut exits: Vec<String> = told[1..=ORPHANS].iter().map(|line| (*line).to_owned()).collect();
    assert!(exits.iter().all(|line| line.ends_with("Code(7))")), "{exits:?}");
    let recorded = usize::try_from(RECORDED).unwrap();
    let rest = exits.split_off(recorded).join("\n");
    assert_eq!(heard(2), format!("{rest}\nbegin\n"));
    until("its greeting", || (heard(3) == "begin\n").then_some(()));
}

/// A supervisor that does nothing but talk to pisup-init, and writes down what it hears.
#[test]
#[ignore = "the supervisor of another test"]
fn speaker() {
    let place = PathBuf::from(std::env::var_os("SPEAKER_PLACE").unwrap());
    let link = Link::inherited().unwrap().unwrap();
    let run = (1..).find(|run| !place.join(format!("heard-{run}")).exists()).unwrap();
    let path = place.join(format!("heard-{run}"));
    hear_until_begin(&link, &path);
    let record = |count| assert_eq!(link.say(&Frame::Recorded(count), None), Ok(true));
    match run {
        1 => {
            let here = place.display();
            let orphan = format!("while [ ! -e {here}/go ]; do sleep 0.05; done; exit 7");
            let orphans = format!("for i in $(seq {ORPHANS}); do ({orphan}) & done");
            assert!(Command::new("sh").args(["-c", &orphans]).status().unwrap().success());
            fs::write(place.join("orphans"), "made").unwrap();
            until("their end", || place.join("ended").exists().then_some(()));
            assert_eq!(link.say(&Frame::Ask, None), Ok(true));
            fs::write(place.join("asked"), "").unwrap();
            hear_until_begin(&link, &path);
            record(RECORDED);
        }
        2 => record(u32::try_from(ORPHANS).unwrap() - RECORDED),
        _ => std::thread::park(),
    }
    panic!("it fails, so that another one is started");
}

/// Notes the ends that are told, and the word behind them.
fn hear_until_begin(link: &Link, path: &Path) {
    let mut text = fs::read_to_string(path).unwrap_or_default();
    until("begin", || match link.hear() {
        Heard::Frame(Frame::Begin, _) => Some(()),
        Heard::Frame(frame @ Frame::Exit(..), _) => {
            text.push_str(&format!("{frame:?}\n"));
            None
        }
        heard => {
            assert!(matches!(heard, Heard::Frame(..) | Heard::Nothing), "{heard:?}");
            None
        }
    });
    fs::write(path, text + "begin\n").unwrap();
}
