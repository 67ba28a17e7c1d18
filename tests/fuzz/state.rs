//! The state file: what an earlier supervisor has left, or whoever wrote into its directory.

#[path = "../machine/spec.rs"]
mod plain;

use pisup::machine::spec::{Readiness, Restart, Stop};
use pisup::machine::{Event, Machine, Spec, Tick};
use pisup::wire::state::State;

/// A state file whose checksum is right: no fuzzer gets past it by itself.
fn sealed(rest: &[u8]) -> Vec<u8> {
    let crc = !rest.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    [format!("pisup-state 1 {crc:08x}").as_bytes(), rest].concat()
}

fn spec(name: &str) -> Spec {
    let plain = plain::spec(name);
    Spec {
        prepare_ms: vec![Some(1000)],
        readiness: Readiness { timeout_ms: Some(60_000), ..plain.readiness },
        restart: Restart { degraded_after: 3, has_jitter: true, ..plain.restart },
        stop: Stop { sweeps: true, ..plain.stop },
        ..plain
    }
}

/// A whole file, or what follows the checksum of one: what is read is written and read the same,
/// and a machine that takes it goes on.
pub fn state(bytes: &[u8]) {
    let refused = State::parse(bytes).err();
    let Ok(state) = (match refused {
        None => State::parse(bytes),
        Some(_) => State::parse(&sealed(bytes)),
    }) else {
        return;
    };
    let text = state.render();
    assert!(text.len() <= 64 * (bytes.len() + 64), "{} bytes of {}", text.len(), bytes.len());
    assert_eq!(State::parse(text.as_bytes()).as_ref(), Ok(&state), "{text:.2000}");
    let mut names: Vec<&str> = state.memory.units.iter().map(|unit| &*unit.name).collect();
    names.sort_unstable();
    names.dedup();
    let specs = names.iter().take(12).map(|name| spec(name)).collect();
    let now = state.at;
    let Ok((mut machine, newcomers)) = Machine::resume(specs, 7, &state.memory, now) else {
        return;
    };
    let mut now = now;
    let mut next = Some(Event::Resumed(newcomers));
    for _ in 0..20 {
        let _ = machine.step(next.take().unwrap_or(Event::Timer), now);
        match machine.next_deadline() {
            Some(at) => now = Tick(at.0.max(now.0)),
            None => break,
        }
    }
}
