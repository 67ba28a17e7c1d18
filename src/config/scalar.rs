//! Small texts with a meaning: durations, sizes, signals, modes, addresses.
//!
//! Every function takes what stood between the quotes and answers with the value, or with half a
//! sentence that goes on after the text in question: "`10` ... has no unit".

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::diag::suggest;
use super::plan::Listen;
use super::words;

/// What a scalar answers: a value, or what is wrong and how it is written.
pub(super) type Parsed<T> = Result<T, String>;

/// A longer duration is a mistake; it keeps sums of ticks far from their end.
const MAX_MS: u64 = 3650 * 24 * 3_600_000;

/// `sun_path` has 108 bytes with the final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// CPU numbers end here (CONFIG_NR_CPUS of any board is far below).
const MAX_CPUS: usize = 1024;

/// `300ms 10s 2m 1h` in milliseconds.
pub(super) fn duration(text: &str) -> Parsed<u64> {
    match limit(text)? {
        Some(ms) => Ok(ms),
        None => Err("is no duration here; write one that ends, like \"10s\"".to_owned()),
    }
}

/// A duration in milliseconds, or `None` for `never`.
pub(super) fn limit(text: &str) -> Parsed<Option<u64>> {
    if text == "never" {
        return Ok(None);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or(("", text));
    let scale = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if !number.is_empty() => {
            return Err(format!("has no unit; write \"{number}s\" or \"{number}ms\""));
        }
        _ => return Err("is no duration; write \"300ms\", \"10s\", \"2m\" or \"1h\"".to_owned()),
    };
    let Ok(number) = number.parse::<u64>() else {
        return Err("is no duration; write \"300ms\", \"10s\", \"2m\" or \"1h\"".to_owned());
    };
    match number.checked_mul(scale) {
        Some(ms) if ms <= MAX_MS => Ok(Some(ms)),
        _ => Err("is longer than ten years; write \"never\" where no end is meant".to_owned()),
    }
}

/// `64K 256M 1G` or plain bytes.
pub(super) fn size(text: &str) -> Parsed<u64> {
    let (number, scale) = match text.bytes().last() {
        Some(b'K') => (text.strip_suffix('K'), 1 << 10),
        Some(b'M') => (text.strip_suffix('M'), 1 << 20),
        Some(b'G') => (text.strip_suffix('G'), 1 << 30),
        _ => (Some(text), 1),
    };
    let number = number.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(scale))
        .ok_or_else(|| {
            "is no size; write \"64K\", \"256M\", \"1G\" or a number of bytes".to_owned()
        })
}

/// A size, or `max` or `infinity` for no bound, which is `u64::MAX`.
pub(super) fn bound(text: &str) -> Parsed<u64> {
    match text {
        "max" | "infinity" => Ok(u64::MAX),
        _ => size(text).map_err(|_| {
            "is no size; write \"64K\", \"256M\", \"1G\", a number of bytes or \"max\"".to_owned()
        }),
    }
}

/// A resource limit: a number, a size or `infinity`, which is `u64::MAX`.
pub(super) fn resource(text: &str) -> Parsed<u64> {
    bound(text)
        .map_err(|_| "is no limit; write a number, \"64K\", \"256M\" or \"infinity\"".to_owned())
}

/// A number, or `max` or `infinity`.
pub(super) fn count(text: &str) -> Parsed<u64> {
    match text {
        "max" | "infinity" => Ok(u64::MAX),
        _ => text.parse().map_err(|_| "is no number; write 512 or \"max\"".to_owned()),
    }
}

/// An octal file mode or mask.
pub(super) fn octal(text: &str) -> Parsed<u32> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= 0o7777 => Ok(mode),
        _ => Err("is no octal mode; write it like \"0660\"".to_owned()),
    }
}

/// A mask has no more than the nine bits of permissions.
pub(super) fn umask(text: &str) -> Parsed<u32> {
    match octal(text) {
        Ok(mask) if mask <= 0o777 => Ok(mask),
        _ => Err("is no octal mask; write it like \"022\"".to_owned()),
    }
}

/// `TERM`, `SIGTERM` or a number.
pub(super) fn signal(text: &str) -> Parsed<i32> {
    words::signal_number(text).ok_or_else(|| {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let near = suggest(bare, words::signal_names());
        format!("is no signal; {}", near.as_deref().unwrap_or("write \"TERM\", \"HUP\" or 15"))
    })
}

/// A capability as its number.
pub(super) fn capability(text: &str) -> Parsed<u8> {
    let name = words::bare_capability(text);
    let number = words::CAPABILITIES.iter().position(|known| *known == name);
    number.and_then(|number| u8::try_from(number).ok()).ok_or_else(|| {
        let near = suggest(&name, words::CAPABILITIES.iter().copied());
        format!("is no capability; {}", near.as_deref().unwrap_or("write \"NET_ADMIN\""))
    })
}

/// `0-3,6` as numbers in order.
pub(super) fn cpus(text: &str) -> Parsed<Vec<usize>> {
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < MAX_CPUS => all.extend(first..=last),
            _ => return Err("is no list of CPUs; write it like \"0-2,3\"".to_owned()),
        }
    }
    Ok(all.into_iter().collect())
}

/// `idle`, `best-effort:4` or `realtime:0`, as `ioprio_set` takes it.
pub(super) fn ionice(text: &str) -> Parsed<u16> {
    let (class, level) = text.split_once(':').unwrap_or((text, ""));
    let level = level.parse::<u16>().ok().filter(|level| *level <= 7);
    match (class, level) {
        ("idle", None) if text == "idle" => Ok(3 << 13),
        ("best-effort", Some(level)) => Ok(2 << 13 | level),
        ("realtime", Some(level)) => Ok(1 << 13 | level),
        _ => {
            Err("is no I/O priority; write \"idle\", \"best-effort:4\" or \"realtime:0\" (0 to 7)"
                .to_owned())
        }
    }
}

/// `/run/x.sock` or `tcp:127.0.0.1:2375`.
pub(super) fn listen(text: &str) -> Parsed<Listen> {
    if let Some(address) = text.strip_prefix("tcp:") {
        return address.parse().map(Listen::Tcp).map_err(|_| {
            "is no address to listen on; write \"tcp:127.0.0.1:2375\" (an IP address and a port)"
                .to_owned()
        });
    }
    if !text.starts_with('/') {
        return Err("is no address to listen on; write \"/run/x.sock\" or \"tcp:127.0.0.1:2375\""
            .to_owned());
    }
    if text.len() > MAX_SOCKET_PATH {
        return Err(format!("is too long for a socket; {MAX_SOCKET_PATH} bytes fit"));
    }
    Ok(Listen::Unix(PathBuf::from(text)))
}

/// `ADDR:PORT` that a probe can connect to without asking anybody for a name.
pub(super) fn endpoint(text: &str) -> Parsed<()> {
    match socket_address(text) {
        Some(_) => Ok(()),
        None => Err("is no address; write \"127.0.0.1:4001\" (names are not resolved)".to_owned()),
    }
}

fn socket_address(text: &str) -> Option<SocketAddr> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: SocketAddr = numeric.as_deref().unwrap_or(text).parse().ok()?;
    Some(address).filter(|address| address.port() > 0)
}

/// `http://ADDR:PORT/PATH` or `http+unix:///SOCKET:/PATH`.
pub(super) fn url(text: &str) -> Parsed<()> {
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err("has a space or a control character in it; write %20 for a space".to_owned());
    }
    if let Some(rest) = text.strip_prefix("http+unix://") {
        let socket = rest.split_once(":/").map_or(rest, |(socket, _)| socket);
        return match socket.starts_with('/') && socket.len() > 1 {
            true => Ok(()),
            false => Err("names no socket; write \"http+unix:///run/x.sock:/PATH\"".to_owned()),
        };
    }
    if text.starts_with("https://") {
        return Err("needs TLS, which probes do not speak; use http:// or exec".to_owned());
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(
            "is no address; write \"http://127.0.0.1:80/\" or \"http+unix:///run/x.sock:/\""
                .to_owned(),
        );
    };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(host);
    if host == "localhost" || socket_address(host).is_some() || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err("names no host; write \"http://127.0.0.1:80/\" (names are not resolved)".to_owned())
}

/// An IPv4 address that a node can have, as others see it.
pub(super) fn node_address(text: &str) -> Parsed<Ipv4Addr> {
    let Ok(address) = text.parse::<Ipv4Addr>() else {
        return Err("is no IPv4 address; write it like \"192.168.1.11\"".to_owned());
    };
    if address.is_loopback() {
        return Err("is the loopback, which no other node can reach; \
            write this node's address in its network"
            .to_owned());
    }
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err("is no address of a node; write it like \"192.168.1.11\"".to_owned());
    }
    Ok(address)
}

/// `10.1.0.0/16`, or with `is_network` false `10.1.78.1/24`.
pub(super) fn cidr(text: &str, is_network: bool) -> Parsed<()> {
    let form = if is_network { "10.1.0.0/16" } else { "10.1.78.1/24" };
    let parts = text.split_once('/');
    let parsed = parts.and_then(|(address, length)| {
        Some((address.parse::<Ipv4Addr>().ok()?, length.parse::<u32>().ok()?))
    });
    let Some((address, length)) = parsed.filter(|(_, length)| (1..=32).contains(length)) else {
        return Err(format!("is no address with a prefix length; write it like \"{form}\""));
    };
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or_default();
    let network = Ipv4Addr::from(address.to_bits() & mask);
    if is_network && network != address {
        return Err(format!("has bits beyond its prefix; did you mean \"{network}/{length}\"?"));
    }
    Ok(())
}

/// The name of a network interface.
pub(super) fn interface(text: &str) -> Parsed<()> {
    let is_good = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    match (1..=15).contains(&text.len()) && text.chars().all(is_good) && !text.starts_with('-') {
        true => Ok(()),
        false => {
            Err("is no network interface; write it as `ip link` shows it: \"eth0\"".to_owned())
        }
    }
}

/// A unit's name: `[a-z0-9][a-z0-9-]{0,62}`.
pub(super) fn is_unit_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(is_good) && !name.starts_with('-')
}

/// The name of an environment variable or of an exported value.
pub(super) fn is_variable(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_good) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// A name under `[vars]` and `[images]`.
pub(super) fn is_free_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("300ms", 300), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(ms), "{text}");
        }
        assert_eq!(limit("never"), Ok(None));
        for (text, word) in [
            ("never", "one that ends"),
            ("10", "\"10s\""),
            ("", "no duration"),
            ("s", "no duration"),
            ("-1s", "no duration"),
            ("1.5s", "no duration"),
            ("1 s", "no duration"),
            ("10S", "no duration"),
            ("99999999999999999999s", "no duration"),
            ("18446744073709551615h", "ten years"),
            ("88000h", "ten years"),
        ] {
            let error = duration(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("64K", 65_536), ("256M", 1 << 28), ("1G", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "64k", "64KB", "-1", "+1", "1.5M", "99999999999999G", "max"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(bound("max"), Ok(u64::MAX));
        assert_eq!(count("512"), Ok(512));
        assert!(count("5K").is_err());
    }

    #[test]
    fn modes() {
        assert_eq!(octal("0660"), Ok(0o660));
        assert_eq!(umask("022"), Ok(0o22));
        for text in ["", "8", "0o22", "77777", "+22", "u=rw"] {
            assert!(octal(text).is_err(), "{text}");
        }
        assert!(umask("1777").is_err());
    }

    #[test]
    fn names_get_suggestions() {
        assert_eq!(signal("SIGHUP"), Ok(1));
        assert!(signal("TERMM").unwrap_err().contains("`TERM`"));
        assert!(signal("sigterm").unwrap_err().contains("`TERM`"));
        assert_eq!(capability("cap_net_admin"), Ok(12));
        assert!(capability("NET_ADMN").unwrap_err().contains("`NET_ADMIN`"));
    }

    #[test]
    fn cpu_lists_and_priorities() {
        assert_eq!(cpus("0-2,3,1"), Ok(vec![0, 1, 2, 3]));
        for text in ["", "3-1", "a", "0-", "0-5000", "1,,2"] {
            assert!(cpus(text).is_err(), "{text}");
        }
        assert_eq!(ionice("idle"), Ok(0x6000));
        assert_eq!(ionice("best-effort:4"), Ok(0x4004));
        assert_eq!(ionice("realtime:0"), Ok(0x2000));
        for text in ["", "idle:1", "idle:", "best-effort", "best-effort:8", "rt:1"] {
            assert!(ionice(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(listen("/run/a"), Ok(Listen::Unix(PathBuf::from("/run/a"))));
        assert!(matches!(listen("tcp:[::1]:80"), Ok(Listen::Tcp(_))));
        for text in ["", "run/a", "tcp:80", "tcp:localhost:80", "udp:1.2.3.4:5"] {
            assert!(listen(text).is_err(), "{text}");
        }
        assert!(listen(&format!("/{}", "a".repeat(107))).is_err());
        assert!(node_address("192.168.1.1").is_ok());
        for text in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "224.0.0.1", "::1", "pi", ""] {
            assert!(node_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_and_endpoints() {
        for text in [
            "http://127.0.0.1:4001/health",
            "http://localhost:80",
            "http://[::1]:80/x",
            "http://10.0.0.1/x?y",
            "http+unix:///run/docker.sock:/_ping",
        ] {
            assert_eq!(url(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "127.0.0.1:80",
            "https://127.0.0.1/",
            "http://pi/",
            "http://:80/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1/a b",
            "http+unix://run/x",
            "http+unix:///:/x",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
        assert!(endpoint("127.0.0.1:4001").is_ok() && endpoint("localhost:1").is_ok());
        for text in ["", "4001", ":4001", "127.0.0.1", "pi:80", "127.0.0.1:0", "::1"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        assert!(cidr("10.1.0.0/16", true).is_ok() && cidr("10.1.78.1/24", false).is_ok());
        assert!(cidr("10.1.2.0/16", true).unwrap_err().contains("10.1.0.0/16"));
        for text in ["", "10.1.0.0", "10.1.0.0/33", "10.1.0.0/0", "10.1/16", "::/8"] {
            assert!(cidr(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        assert!(interface("eth0").is_ok() && interface("br-1@2").is_ok());
        for text in ["", "a b", "a/b", "0123456789abcdef", "-x"] {
            assert!(interface(text).is_err(), "{text}");
        }
        assert!(is_unit_name("docker-0") && is_unit_name(&"a".repeat(63)));
        for name in ["", "-a", "A", "a_b", "a.b", "ä", &"a".repeat(64)] {
            assert!(!is_unit_name(name), "{name}");
        }
        assert!(
            is_variable("A_1") && !is_variable("1A") && !is_variable("") && !is_variable("a-b")
        );
        assert!(is_free_name("a-b_1") && !is_free_name("") && !is_free_name("a.b"));
    }
}
