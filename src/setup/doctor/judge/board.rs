//! The board: its kind, clock, power, disk and watchdog.

use super::{Finding, is_pi};
use crate::setup::doctor::facts::{Facts, Power};

const GIB: u64 = 1 << 30;

/// So much is needed for images and values, and with less no image is pulled.
const SPACE_LEAST: u64 = GIB / 2;
const SPACE_GOOD: u64 = 2 * GIB;

pub(super) fn machine(facts: &Facts) -> Finding {
    let machine = &facts.live.machine;
    let model = facts.model.as_deref().unwrap_or("no model is told");
    let finding = format!("{machine}, {model}");
    match machine.as_str() {
        "armv7l" | "armv8l" | "aarch64" | "x86_64" => Finding::pass("machine", finding),
        "armv6l" => Finding::fail(
            "machine",
            format!("{finding}: too old, no part of a node is built for it any more"),
            "take a Pi 2 or later",
        ),
        _ => Finding::warn("machine", format!("{finding}: never tried"), "tell us how it went"),
    }
}

pub(super) fn clock(facts: &Facts) -> Finding {
    let date = &facts.live.date;
    let fix = match facts.is_systemd {
        true => "timedatectl set-ntp true",
        false => "start a time service, as `ntp` of `pisup setup --with-board` does, or `date -s`",
    };
    match (facts.live.is_sane, facts.live.is_synced) {
        (false, _) => Finding::fail(
            "clock",
            format!("{date}, which is before this program was made: no certificate is valid"),
            fix,
        ),
        (true, false) => Finding::warn("clock", format!("{date}, and nobody vouches for it"), fix),
        (true, true) => Finding::pass("clock", format!("{date}, kept right")),
    }
}

pub(super) fn power(facts: &Facts) -> Finding {
    let fix = "a supply of 2.5 A or more for this board alone, and a short thick cable";
    match facts.power {
        Power::NoSensor => Finding::pass("power", "no sensor"),
        Power::Voltage(false) => Finding::pass("power", "the voltage is right"),
        Power::Voltage(true) => Finding::fail("power", "the voltage is too low", fix),
        Power::Throttled(0) => Finding::pass("power", "never too low, never throttled"),
        Power::Throttled(bits) => throttled(bits, fix),
    }
}

/// The firmware's bits: what is now, and 16 above it what has been since power-on.
fn throttled(bits: u32, fix: &str) -> Finding {
    let words = ["the voltage is too low", "the clock rate is capped", "throttled", "too hot"];
    let named = |shift: usize| -> Vec<&str> {
        let named = words.into_iter().enumerate();
        named.filter(|(bit, _)| bits >> (bit + shift) & 1 == 1).map(|(_, word)| word).collect()
    };
    let (now, since) = (named(0), named(16));
    let fix = match bits & 0x1_0001 {
        0 => "a heat sink, or more air",
        _ => fix,
    };
    match (now.is_empty(), since.is_empty()) {
        (true, true) => Finding::pass("power", format!("bits that mean nothing here: {bits:#x}")),
        (true, false) => {
            Finding::warn("power", format!("since power-on: {} ({bits:#x})", since.join(", ")), fix)
        }
        (false, _) => Finding::fail("power", format!("{} ({bits:#x})", now.join(", ")), fix),
    }
}

pub(super) fn space(facts: &Facts) -> Finding {
    let Some(free) = facts.live.free_bytes else {
        return Finding::warn("space", "the disk of /var/lib does not tell", "df /var/lib");
    };
    let finding = format!("{}.{} GiB free in /var/lib", free / GIB, free % GIB * 10 / GIB);
    let fix = match is_pi(facts) {
        true => "raspi-config --expand-rootfs, or a larger card",
        false => "make room on the disk of /var/lib",
    };
    match free {
        _ if free < SPACE_LEAST => Finding::fail("space", finding, fix),
        _ if free < SPACE_GOOD => Finding::warn("space", finding, fix),
        _ => Finding::pass("space", finding),
    }
}

pub(super) fn watchdog(facts: &Facts) -> Finding {
    let wanted = facts.wants.as_ref().and_then(|wants| wants.watchdog.as_ref());
    match (&facts.watchdog, wanted) {
        (None, None) => Finding::pass("watchdog", "none, and [watchdog] asks for none"),
        (None, Some(device)) => {
            let fix = match is_pi(facts) {
                true => "modprobe bcm2835_wdt".to_owned(),
                false => format!("leave [watchdog] out of {}/node.toml", facts.config),
            };
            Finding::fail("watchdog", format!("none, and [watchdog] asks for {device}"), fix)
        }
        (Some(watchdog), wanted) => match (&watchdog.holder, wanted) {
            (None, None) => {
                Finding::pass("watchdog", format!("{}, free and not used", watchdog.identity))
            }
            (None, Some(_)) => Finding::pass("watchdog", format!("{}, free", watchdog.identity)),
            (Some(holder), wanted) => {
                let (name, pid) = (&holder.name, holder.pid);
                let finding = format!("{}, held by {name} (pid {pid})", watchdog.identity);
                let fix = match name.as_str() {
                    "systemd" => {
                        "RuntimeWatchdogSec=0 in /etc/systemd/system.conf, then reboot".to_owned()
                    }
                    _ => format!("stop {name}, which feeds it too"),
                };
                match wanted {
                    Some(_) if !name.starts_with("pisup") => {
                        Finding::fail("watchdog", format!("{finding}, and wanted here"), fix)
                    }
                    _ => Finding::pass("watchdog", finding),
                }
            }
        },
    }
}
