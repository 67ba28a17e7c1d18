//! A unit for tests of the machine, of which each changes what it is about.

use pisup::machine::Spec;
use pisup::machine::spec::{Conditions, Gates, Kind, Policy, Readiness, Restart, Stop};

/// A service without dependencies that is always started again; no chance is involved.
pub fn spec(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        kind: Kind::Service,
        requires: vec![],
        binds: vec![],
        wants: vec![],
        after: vec![],
        conflicts: vec![],
        uses: vec![],
        exports: vec![],
        is_enabled: true,
        conditions: Conditions::NONE,
        conditions_timeout_ms: None,
        prepare_ms: vec![],
        readiness: Readiness { gates: Gates::NONE, timeout_ms: Some(600_000), watchdog_ms: None },
        restart: Restart {
            policy: Policy::Always,
            delay_ms: 1000,
            max_delay_ms: 60_000,
            stable_ms: 10_000,
            degraded_after: 5,
            fatal_exit_codes: vec![],
            has_jitter: false,
        },
        stop: Stop { timeout_ms: Some(10_000), sweeps: false },
    }
}
