//! What a unit may use, in the words of each version of control groups.

use std::fs;
use std::os::unix::fs::chown;

use super::group::Place;
use super::hierarchy::Hierarchy;
use crate::sys::fault::{errno, reason};

/// The limits of one unit; `None` is as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; `u64::MAX` is no limit.
    pub memory_max: Option<u64>,
    /// Bytes; `u64::MAX` is no limit.
    pub memory_high: Option<u64>,
    /// 1 to 10000, 100 is usual.
    pub cpu_weight: Option<u32>,
    /// 1 to 10000, 100 is usual.
    pub io_weight: Option<u32>,
    /// Processes and threads; `u64::MAX` is no limit.
    pub pids_max: Option<u64>,
    /// The user and group that may manage the groups below.
    pub delegate_to: Option<(u32, u32)>,
}

/// One value on its way into one of a few files, of which kernels have one.
struct Setting {
    key: &'static str,
    controller: &'static str,
    files: &'static [&'static str],
    value: Option<String>,
    usual: &'static str,
}

impl Limits {
    /// Whether that hierarchy carries one of the limits that are set.
    pub(super) fn need(&self, hierarchy: &Hierarchy) -> bool {
        let mut set = self.settings(hierarchy.is_v2).into_iter().filter(|one| one.value.is_some());
        set.any(|one| hierarchy.has(one.controller))
    }

    /// Controllers that are needed and nowhere to be found, and what can be done about it.
    pub(super) fn missing(&self, all: &[Hierarchy]) -> Vec<(&'static str, &'static str)> {
        let is_carried =
            |is_v2, controller| all.iter().any(|one| one.is_v2 == is_v2 && one.has(controller));
        let mut missing = Vec::new();
        for (v1, v2) in self.settings(false).iter().zip(self.settings(true)) {
            let is_missing = v2.value.is_some()
                && !is_carried(false, v1.controller)
                && !is_carried(true, v2.controller);
            let advice = match v2.controller {
                "memory" => " (on a Pi, add cgroup_enable=memory to the kernel's command line)",
                _ => "",
            };
            if is_missing && !missing.contains(&(v2.controller, advice)) {
                missing.push((v2.controller, advice));
            }
        }
        missing
    }

    /// Writes all limits, and the usual values where there are none; says what was refused.
    pub(super) fn apply(&self, unit: &str, places: &[Place]) -> Vec<String> {
        let mut warnings = Vec::new();
        for place in places {
            for setting in self.settings(place.is_v2) {
                if place.controllers.iter().any(|own| own == setting.controller) {
                    warnings.extend(setting.write(unit, place));
                }
            }
            if let Some((uid, gid)) = self.delegate_to {
                for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
                    let _ = chown(place.dir.join(file), Some(uid), Some(gid));
                }
            }
        }
        warnings
    }

    fn settings(&self, is_v2: bool) -> [Setting; 5] {
        let setting = |key, v2: (_, _, _), v1: (_, _, _), value: [Option<String>; 2]| {
            let [new, old] = value;
            let ((controller, files, usual), value) = if is_v2 { (v2, new) } else { (v1, old) };
            Setting { key, controller, files, value, usual }
        };
        let both = |limit: Option<u64>, none| [bound(limit, "max"), bound(limit, none)];
        let weights = |weight: Option<u32>, old: fn(u32) -> u32| {
            [weight.map(|weight| weight.to_string()), weight.map(|weight| old(weight).to_string())]
        };
        [
            setting(
                "memory-max",
                ("memory", &["memory.max"], "max"),
                ("memory", &["memory.limit_in_bytes"], "-1"),
                both(self.memory_max, "-1"),
            ),
            // Version 1 has no throttle; its soft limit is at least reclaimed from first.
            setting(
                "memory-high",
                ("memory", &["memory.high"], "max"),
                ("memory", &["memory.soft_limit_in_bytes"], "-1"),
                both(self.memory_high, "-1"),
            ),
            setting(
                "cpu-weight",
                ("cpu", &["cpu.weight"], "100"),
                ("cpu", &["cpu.shares"], "1024"),
                weights(self.cpu_weight, |weight| (weight.saturating_mul(1024) / 100).max(2)),
            ),
            setting(
                "io-weight",
                ("io", &["io.weight", "io.bfq.weight"], "100"),
                ("blkio", &["blkio.weight", "blkio.bfq.weight"], "100"),
                weights(self.io_weight, |weight| weight.clamp(10, 1000)),
            ),
            setting(
                "pids-max",
                ("pids", &["pids.max"], "max"),
                ("pids", &["pids.max"], "max"),
                both(self.pids_max, "max"),
            ),
        ]
    }
}

impl Setting {
    fn write(&self, unit: &str, place: &Place) -> Option<String> {
        let files = self.files.iter().map(|file| place.dir.join(file));
        let file = files.clone().find(|file| file.exists());
        let Some(value) = &self.value else {
            // A group that an earlier run left may still have a limit.
            let _ = fs::write(file?, self.usual);
            return None;
        };
        let file = file.or_else(|| files.clone().next())?;
        let error = fs::write(&file, value).err()?;
        Some(format!("cannot set {} of {unit} to {value}: {}", self.key, reason(errno(&error))))
    }
}

fn bound(limit: Option<u64>, none: &str) -> Option<String> {
    limit.map(|limit| if limit == u64::MAX { none.to_owned() } else { limit.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limits: &Limits, is_v2: bool) -> Vec<String> {
        let set = limits.settings(is_v2).into_iter();
        set.filter_map(|one| Some(format!("{} {}", one.files.first()?, one.value?))).collect()
    }

    #[test]
    fn each_version_has_its_own_words() {
        let limits = Limits {
            memory_max: Some(1 << 20),
            memory_high: Some(u64::MAX),
            cpu_weight: Some(50),
            io_weight: Some(10_000),
            pids_max: Some(u64::MAX),
            delegate_to: None,
        };
        let v2 = ["memory.max 1048576", "memory.high max", "cpu.weight 50", "io.weight 10000"];
        assert_eq!(lines(&limits, true)[..4], v2);
        assert_eq!(lines(&limits, true)[4], "pids.max max");
        let v1 = [
            "memory.limit_in_bytes 1048576",
            "memory.soft_limit_in_bytes -1",
            "cpu.shares 512",
            "blkio.weight 1000",
            "pids.max max",
        ];
        assert_eq!(lines(&limits, false), v1);
        assert_eq!(lines(&Limits::default(), true), Vec::<String>::new());
        let odd = Limits { cpu_weight: Some(u32::MAX), ..Limits::default() };
        assert_eq!(lines(&odd, false), ["cpu.shares 42949672"]);
    }

    #[test]
    fn only_what_is_needed_is_missing() {
        let limits = Limits { memory_max: Some(1), memory_high: Some(1), ..Limits::default() };
        let missing = limits.missing(&[]);
        assert_eq!(missing.len(), 1, "once per controller");
        assert_eq!(missing[0].0, "memory");
        assert_eq!(Limits::default().missing(&[]), Vec::new());
    }
}
