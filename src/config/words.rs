//! Words that stand for numbers of the kernel: signals, capabilities, resource limits.

/// Signals by name, with their numbers on every machine that this is built for (arm, x86).
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Capabilities; the index is the number.
pub(super) const CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Names under `limits`, as in RLIMIT_NAME.
pub(super) const LIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The number of `TERM`, `SIGTERM` or `15`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let by_name = SIGNALS.iter().find(|(word, _)| *word == name).map(|(_, number)| *number);
    by_name.or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number)))
}

/// The word for a signal, without `SIG`.
#[must_use]
pub fn signal_name(number: i32) -> Option<&'static str> {
    SIGNALS.iter().find(|(_, own)| *own == number).map(|(word, _)| *word)
}

/// All signal names, for suggestions.
pub(super) fn signal_names() -> impl Iterator<Item = &'static str> {
    SIGNALS.iter().map(|(word, _)| *word)
}

/// `CAP_NET_ADMIN` as `NET_ADMIN`.
pub(super) fn bare_capability(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_any_name() {
        for text in ["TERM", "SIGTERM", "15"] {
            assert_eq!(signal_number(text), Some(15));
        }
        for text in ["", "term", "0", "65", "-1", "SIG", "SIGSIGTERM", "RTMIN"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
        assert_eq!(signal_name(9), Some("KILL"));
        assert_eq!(signal_name(40), None);
    }

    #[test]
    fn capabilities_are_numbered_by_place() {
        assert_eq!(CAPABILITIES.iter().position(|name| *name == "SYS_RESOURCE"), Some(24));
        assert_eq!(CAPABILITIES.last(), Some(&"CHECKPOINT_RESTORE"));
        assert_eq!(CAPABILITIES.len(), 41);
        assert_eq!(bare_capability("cap_net_admin"), "NET_ADMIN");
    }
}
