//! What is written is read, and nothing else is taken for it.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::machine::spec::{Conditions, Gates, Use};
use crate::machine::{
    Body as Part, Cause, Hold, Next, Phase, Remembered, Stage, UnitId, UnitState, Want,
};

/// What version 1 wrote; it has to be read, or refused by name, for ever.
const VERSION_1: &str = include_str!("../../../tests/state/version-1");

fn tick() -> impl Strategy<Value = Tick> {
    any::<u64>().prop_map(Tick)
}

fn maybe_tick() -> impl Strategy<Value = Option<Tick>> {
    prop::option::of(tick())
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        select(vec![Part::Unborn, Part::Main, Part::Leftovers]),
        any::<u8>().prop_map(Part::Step),
    ]
}

fn hold() -> impl Strategy<Value = Hold> {
    (any::<u16>().prop_map(UnitId), ".*", 0..8_u8, 0..9_u8).prop_map(|(unit, key, bits, which)| {
        match which {
            0 => Hold::Needs(unit),
            1 => Hold::Stopped(unit),
            2 => Hold::Broken(unit),
            3 => Hold::Ended(unit),
            4 => Hold::Wants(unit),
            5 => Hold::Leaver(unit),
            6 => Hold::Value(unit, key),
            7 => Hold::Undead,
            _ => Hold::World(Conditions::from_bits(bits).unwrap()),
        }
    })
}

fn phase() -> impl Strategy<Value = Phase> {
    let run = || any::<u32>().prop_map(Run);
    let stage = prop_oneof![
        Just(Stage::Ordered),
        maybe_tick().prop_map(|kill_at| Stage::Asked { kill_at }),
        tick().prop_map(|until| Stage::Killed { until }),
        tick().prop_map(|until| Stage::Sweeping { until }),
    ];
    let next = prop_oneof![
        select(vec![Next::Again, Next::Failed, Next::Done, Next::Rest]),
        tick().prop_map(Next::Retry),
    ];
    let gates = any::<u8>().prop_map(|bits| Gates::from_bits(bits).unwrap());
    prop_oneof![
        select(vec![Phase::Down, Phase::Done, Phase::Failed]),
        (hold(), tick(), any::<bool>()).prop_map(|(on, since, goes_alone)| Phase::Waiting {
            on,
            since,
            goes_alone
        }),
        (run(), any::<u8>(), maybe_tick()).prop_map(|(run, step, until)| Phase::Preparing {
            run,
            step,
            until
        }),
        (run(), any::<bool>(), gates, maybe_tick())
            .prop_map(|(run, alive, held, until)| Phase::Starting { run, alive, held, until }),
        (run(), tick()).prop_map(|(run, since)| Phase::Ready { run, since, watchdog: None }),
        (run(), part(), stage, next).prop_map(|(run, body, stage, next)| Phase::Stopping {
            run,
            body,
            stage,
            next
        }),
        tick().prop_map(|until| Phase::Backoff { until }),
    ]
}

fn unit() -> impl Strategy<Value = Remembered> {
    let uses = prop::collection::vec((any::<u16>(), ".*"), 0..3);
    let bounce = select(vec![None, Some(Cause::RestartAsked), Some(Cause::ConfigChanged)]);
    let more = (
        prop::collection::btree_map(".*", ".*", 0..3),
        prop::collection::vec(".*", 0..3),
        bounce,
        0..8_u8,
        prop::option::of(any::<u64>()),
        prop::option::of((any::<u32>().prop_map(Run), part())),
        any::<bool>(),
    );
    let want = select(vec![Want::Idle, Want::On, Want::Stopped, Want::Rest]);
    (".*", uses, want, phase(), any::<u32>(), more).prop_map(
        |(name, uses, want, phase, failures, more)| {
            let (exports, used, bounce, unmet, watchdog_ms, undead, is_retired) = more;
            let unmet = Conditions::from_bits(unmet).unwrap();
            let uses = uses.into_iter().map(|(unit, key)| Use { unit: UnitId(unit), key });
            let state = UnitState {
                want,
                phase,
                failures,
                exports,
                used,
                bounce,
                unmet,
                watchdog_ms,
                undead,
                is_retired,
            };
            Remembered { name, uses: uses.collect(), state }
        },
    )
}

fn process() -> impl Strategy<Value = Process> {
    (any::<u32>(), any::<u64>()).prop_map(|(pid, start_time)| Process { pid, start_time })
}

fn body() -> impl Strategy<Value = Body> {
    let option = prop::option::of::<BoxedStrategy<u32>>;
    let processes = (
        prop::option::of(process()),
        prop::option::of((any::<u8>(), any::<bool>(), process())),
        option(any::<u32>().boxed()),
        option(any::<u32>().boxed()),
    );
    let texts = (prop::option::of(".*"), maybe_tick(), prop::option::of(".*"), any::<bool>());
    (any::<u32>(), processes, texts).prop_map(|(run, processes, texts)| {
        let (main, step, session, container) = processes;
        let (status_text, reloads_until, ready_file, is_asked) = texts;
        Body {
            run: Run(run),
            main,
            step,
            session,
            container,
            status_text,
            reloads_until,
            ready_file,
            is_asked,
        }
    })
}

fn life() -> impl Strategy<Value = Life> {
    let exit = prop_oneof![
        Just(None),
        Just(Some(Exit::Unknown)),
        any::<u8>().prop_map(|code| Some(Exit::Code(code))),
        any::<u8>().prop_map(|signal| Some(Exit::Signal(signal))),
    ];
    let shown = || select(vec![Shown::Down, Shown::Ready, Shown::Backoff]);
    let change = (any::<u64>(), tick(), shown(), shown(), ".*")
        .prop_map(|(number, at, from, to, cause)| Change { number, at, from, to, cause });
    let lists = (prop::collection::vec(".*", 0..3), prop::collection::vec(change, 0..3));
    let counts = (any::<u64>(), any::<u64>(), any::<u64>());
    let processes = (prop::option::of(process()), prop::option::of(body()));
    (tick(), ".*", counts, ".*", exit, lists, processes).prop_map(
        |(since, cause, counts, failure, exit, (notes, changes), (left, body))| {
            let (starts, made_of, failures) = counts;
            Life {
                since,
                cause,
                starts,
                made_of,
                failures,
                failure,
                exit,
                notes,
                changes,
                left,
                body,
            }
        },
    )
}

fn state() -> impl Strategy<Value = State> {
    let units = prop::collection::vec((unit(), life()), 0..4);
    let shutdown = prop::option::of(maybe_tick());
    (tick(), any::<u64>(), any::<u32>(), shutdown, units).prop_map(
        |(at, changes, next_run, shutdown, units)| {
            let (units, lives) = units.into_iter().unzip();
            let memory = Memory { units, next_run, shutdown };
            let boot_id = "0b7d1f4e-1111-2222-3333-444455556666".to_owned();
            State { boot_id, at, changes, memory, lives }
        },
    )
}

#[test]
fn the_checksum_is_the_one_of_zlib() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn a_file_of_version_1_is_read() {
    let state = State::parse(VERSION_1.as_bytes()).unwrap();
    assert_eq!(state.render(), VERSION_1, "every line is understood as it was meant");
    let names: Vec<&str> = state.memory.units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["etcd", "flannel", "docker", "job", "extra"]);
    let etcd = state.lives[0].body.as_ref().unwrap();
    assert_eq!(etcd.main, Some(Process { pid: 4711, start_time: 1234 }));
    assert_eq!(state.memory.units[2].state.used, ["10.1.78.1/24"]);
    assert!(matches!(state.memory.units[2].state.phase, Phase::Preparing { step: 1, .. }));
    assert_eq!(state.memory.units[3].state.phase, Phase::Done);
    assert_eq!(state.memory.units[4].state.want, Want::Stopped);
    assert_eq!(state.clone().of_boot("another"), Err(Refusal::OtherBoot));
    assert!(state.of_boot("3f1c2d4e-0000-4000-8000-123456789abc").is_ok());
}

#[test]
fn what_is_no_state_is_refused_by_name() {
    let newer = VERSION_1.replacen("state 1 ", "state 2 ", 1);
    let torn = &VERSION_1[..VERSION_1.len() / 2];
    let changed = VERSION_1.replacen("4711", "4712", 1);
    for (bytes, refusal) in [
        ("", Refusal::Foreign),
        ("hello", Refusal::Foreign),
        ("pisup-state", Refusal::Foreign),
        ("pisup-state x", Refusal::Foreign),
        ("pisup-state 99999999999999999999", Refusal::Foreign),
        (newer.as_str(), Refusal::Newer(2)),
        ("pisup-state 7 in whatever form", Refusal::Newer(7)),
        ("pisup-state 1", Refusal::Torn),
        ("pisup-state 0 ", Refusal::Torn),
        (torn, Refusal::Torn),
        (changed.as_str(), Refusal::Torn),
    ] {
        assert_eq!(State::parse(bytes.as_bytes()), Err(refusal), "{bytes}");
    }
    assert_eq!(State::parse(&vec![b'x'; MAX_BYTES + 1]), Err(Refusal::Foreign));
}

/// The same lines with the checksum that makes them whole.
fn sealed(lines: &str) -> String {
    format!("{MAGIC} {VERSION} {:08x}{lines}", crc32(lines.as_bytes()))
}

#[test]
fn a_line_that_makes_no_sense_is_named() {
    for (lines, number) in [
        ("\n", 1),
        (" boot more\n", 1),
        (" boot\nat\n", 2),
        (" boot\nat +1\n", 2),
        (" boot\nat 1 2\n", 2),
        (" boot\nat 1\nwant on\n", 3),
        (" boot\nunit a\nflies 1\n", 3),
        (" boot\nunit a\nphase ready 1\n", 3),
        (" boot\nunit a\nphase waiting 1 2 undead\n", 3),
        (" boot\nunit a\nunmet 255\n", 3),
        (" boot\nunit \\x\n", 2),
        (" boot\nunit a\\e\n", 2),
        (" boot\nunit a\nbody 1\nmain 1\n", 4),
    ] {
        let text = sealed(lines);
        assert_eq!(State::parse(text.as_bytes()), Err(Refusal::Nonsense(number)), "{lines}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(state in state()) {
        let text = state.render();
        prop_assert_eq!(State::parse(text.as_bytes()), Ok(state));
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), lines in ".*") {
        let _ = State::parse(&bytes);
        let _ = State::parse(sealed(&format!(" boot\nunit a\n{lines}\n")).as_bytes());
    }

    #[test]
    fn a_byte_that_is_another_one_is_found(
        state in state(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = state.render().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(State::parse(&bytes).is_err());
    }
}
