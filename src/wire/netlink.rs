//! The few rtnetlink messages that are needed, by hand: links, IPv4 addresses, IPv4 routes.
//!
//! A crate for this costs half a megabyte of program; these are seven requests of 24 to 48 bytes.
//! Numbers are in the machine's own byte order, as the kernel wants them. What the kernel says
//! beyond the fields below is passed over; an answer that is cut off or nonsense ends early and
//! says so.

use std::net::Ipv4Addr;

use super::rtnl::{self, INET, UP, aligned, half, int, word};
pub use super::rtnl::{Address, Link, Route, RouteKind};

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const REQUEST: u16 = 1;
const MULTI: u16 = 2;
const ACK: u16 = 4;
const INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;

const HEADER: usize = 16;

/// An error number of the kernel: there is no such device.
pub const NO_DEVICE: i32 = 19;

/// All links.
#[must_use]
pub fn get_links() -> Vec<u8> {
    message(GET_LINK, REQUEST | DUMP, &link_head(0, 0, 0), &[])
}

/// The link of that name.
#[must_use]
pub fn get_link(name: &str) -> Vec<u8> {
    let name: Vec<u8> = name.bytes().chain([0]).collect();
    message(GET_LINK, REQUEST, &link_head(0, 0, 0), &[(3, &name)])
}

/// Takes a link down.
#[must_use]
pub fn set_down(index: u32) -> Vec<u8> {
    message(SET_LINK, REQUEST | ACK, &link_head(index, 0, UP), &[])
}

/// Deletes a link.
#[must_use]
pub fn delete_link(index: u32) -> Vec<u8> {
    message(DEL_LINK, REQUEST | ACK, &link_head(index, 0, 0), &[])
}

/// All IPv4 addresses.
#[must_use]
pub fn get_addresses() -> Vec<u8> {
    message(GET_ADDRESS, REQUEST | DUMP, &[INET, 0, 0, 0, 0, 0, 0, 0], &[])
}

/// All IPv4 routes.
#[must_use]
pub fn get_routes() -> Vec<u8> {
    message(GET_ROUTE, REQUEST | DUMP, &[INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[])
}

/// The way that a packet to this address would go.
#[must_use]
pub fn get_route(to: Ipv4Addr) -> Vec<u8> {
    let head = [INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    message(GET_ROUTE, REQUEST, &head, &[(1, &to.octets())])
}

fn link_head(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut head = [0; 16];
    let words = [index, flags, change].map(u32::to_ne_bytes);
    for (byte, value) in head.iter_mut().skip(4).zip(words.iter().flatten()) {
        *byte = *value;
    }
    head
}

pub(super) fn message(kind: u16, flags: u16, head: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = head.to_vec();
    for (kind, value) in attributes {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        body.extend(len.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(aligned(body.len()), 0);
    }
    let len = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut out = len.to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // A sequence number, and our port, which the kernel knows: one request to a socket.
    out.extend(1_u32.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out.extend(body);
    out
}

/// What the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The request was carried out.
    Ack,
    /// The request was refused with this error number.
    Failed(i32),
    /// The list is complete.
    Done,
    /// A link is there.
    Link(Link),
    /// A link is gone.
    LinkGone(Link),
    /// An IPv4 address is there.
    Address(Address),
    /// An IPv4 route is there.
    Route(Route),
    /// Anything else.
    Other,
    /// The list changed while it was told; it has to be asked for again.
    Interrupted,
    /// The rest makes no sense.
    Malformed,
}

/// The messages of an answer, in order; ends behind the first that is malformed.
#[must_use]
pub fn parse(bytes: &[u8]) -> Vec<Message> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        match raw(rest) {
            Some((header, body, after)) => {
                if header.flags & INTERRUPTED != 0 {
                    out.push(Message::Interrupted);
                }
                let message = one(header.kind, body);
                rest = if message.is_some() { after } else { &[] };
                out.push(message.unwrap_or(Message::Malformed));
            }
            None => {
                out.push(Message::Malformed);
                rest = &[];
            }
        }
    }
    out
}

/// Whether nothing follows this datagram of an answer.
#[must_use]
pub fn ends(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let Some((header, _, after)) = raw(rest) {
        if header.kind == DONE || header.kind == ERROR || header.flags & MULTI == 0 {
            return true;
        }
        rest = after;
    }
    // A datagram that was cut off has no next one either.
    !rest.is_empty() || datagram.is_empty()
}

struct Header {
    kind: u16,
    flags: u16,
}

fn raw(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let len = usize::try_from(word(bytes, 0)?).ok()?;
    let header = Header { kind: half(bytes, 4)?, flags: half(bytes, 6)? };
    let body = bytes.get(HEADER..len)?;
    Some((header, body, bytes.get(aligned(len)..).unwrap_or(&[])))
}

fn one(kind: u16, body: &[u8]) -> Option<Message> {
    Some(match kind {
        ERROR => match int(body, 0)? {
            0 => Message::Ack,
            negative => Message::Failed(negative.checked_neg()?),
        },
        // A list that failed on its way ends with an error number.
        DONE => match int(body, 0) {
            Some(negative) if negative < 0 => Message::Failed(negative.checked_neg()?),
            _ => Message::Done,
        },
        NEW_LINK => Message::Link(rtnl::link(body)?),
        DEL_LINK => Message::LinkGone(rtnl::link(body)?),
        NEW_ADDRESS => rtnl::address(body)?.map_or(Message::Other, Message::Address),
        NEW_ROUTE if body.first() == Some(&INET) => Message::Route(rtnl::route(body)?),
        _ => Message::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    /// What `ip` and a kernel 6.18 exchange on a little-endian machine, link statistics left out.
    #[test]
    fn requests_are_byte_for_byte() {
        for (request, hex) in [
            (get_links(), "20000000120001030100000000000000 00000000000000000000000000000000"),
            (
                get_link("docker0"),
                "2c000000120001000100000000000000 00000000000000000000000000000000
                 0c000300646f636b65723000",
            ),
            (
                get_link("nope"),
                "2c000000120001000100000000000000 00000000000000000000000000000000
                 090003006e6f706500000000",
            ),
            (set_down(2), "20000000130005000100000000000000 00000000020000000000000001000000"),
            (delete_link(2), "20000000110005000100000000000000 00000000020000000000000000000000"),
            (get_addresses(), "18000000160001030100000000000000 0200000000000000"),
            (get_routes(), "1c0000001a0001030100000000000000 020000000000000000000000"),
            (
                get_route(Ipv4Addr::new(8, 8, 8, 8)),
                "240000001a0001000100000000000000 022000000000000000000000 0800010008080808",
            ),
        ] {
            assert_eq!(request, bytes(hex));
        }
    }

    #[test]
    fn answers_are_understood() {
        let link = "500000001000000001000000 1a320000 00000100020000000310000000000000
            0c000300646f636b65723000 08000a0007000000 08000d00e8030000
            140012000b000100627269646765000004000200";
        let dead = bytes(link);
        let want = Link {
            index: 2,
            name: "docker0".into(),
            kind: "bridge".into(),
            master: Some(7),
            is_up: true,
        };
        assert_eq!(parse(&dead), [Message::Link(want.clone())]);
        let mut gone = dead;
        gone[4] = 17;
        assert_eq!(parse(&gone), [Message::LinkGone(want)]);
        let addresses = bytes(
            "4c00000014000200010000001a320000 0208 80fe 01000000 080001007f000001 080002007f000001
             070003006c6f0000 0800080080000000 14000600ffffffffffffffff94c8030094c80300
             5000000014000200010000001a320000 02108000 02000000 08000100ac112a01 08000200ac112a01
             0c000300646f636b65723000 0800080080000000 14000600ffffffffffffffff94c8030094c80300
             1400000003000200010000001a32000000000000",
        );
        let address = |index, octets: [u8; 4], prefix, is_global| {
            Message::Address(Address { index, address: octets.into(), prefix, is_global })
        };
        assert_eq!(
            parse(&addresses),
            [
                address(1, [127, 0, 0, 1], 8, false),
                address(2, [172, 17, 42, 1], 16, true),
                Message::Done
            ]
        );
    }

    #[test]
    fn routes_are_understood() {
        let default = "3c00000018000200010000001a320000 02000000fe030001 00000000
            08000f00fe000000 0800060064000000 08000500c0a80101 0800040006000000";
        let route = Route {
            to: (Ipv4Addr::UNSPECIFIED, 0),
            interface: Some(6),
            source: None,
            metric: 100,
            table: 254,
            kind: RouteKind::Unicast,
            is_dead: false,
        };
        assert_eq!(parse(&bytes(default)), [Message::Route(route)]);
        let answer = bytes(
            "7000000018000000010000001a320000 02200000fe000001 00020000 08000f00fe000000
             0800010008080808 0800040006000000 08000700c0a8010b 08000500c0a80101 0800190000000000
             24000c0002000000 00000000000000000000000000000000 000000000000000000000000",
        );
        let source = Some(Ipv4Addr::new(192, 168, 1, 11));
        let to = (Ipv4Addr::new(8, 8, 8, 8), 32);
        assert_eq!(parse(&answer), [Message::Route(Route { to, source, metric: 0, ..route })]);
        let ways = bytes(
            "4800000018000200010000001a320000 02000000fe030001 00000000 08000f00fe000000
             24000900 10001000 05000000 08000500c0a80101 10000000 06000000 08000500c0a80201",
        );
        let want = Route { interface: Some(5), metric: 0, is_dead: true, ..route };
        assert_eq!(parse(&ways), [Message::Route(want)]);
    }

    #[test]
    fn acks_and_errors() {
        let ack =
            bytes("2400000002000001010000001a320000 00000000 2000000013000500 0100000000000000");
        assert_eq!(parse(&ack), [Message::Ack]);
        let refused = bytes(
            "3800000002000000010000001a320000 9bffffff 240000001a000100 0100000000000000
             022000000000000000000000 0800010008080808",
        );
        assert_eq!(parse(&refused), [Message::Failed(101)]);
        assert!(ends(&ack) && ends(&refused));
        let failed_list = bytes("1400000003000200010000001a320000 f4ffffff");
        assert_eq!(parse(&failed_list), [Message::Failed(12)]);
        let changed = bytes("1400000003001200010000001a320000 00000000");
        assert_eq!(parse(&changed), [Message::Interrupted, Message::Done]);
        let least =
            bytes("2400000002000000010000001a320000 00000080 2000000013000500 0100000000000000");
        assert_eq!(parse(&least), [Message::Malformed]);
        // Found by the fuzzer: it went on behind what it did not understand.
        assert_eq!(parse(&[least, changed].concat()), [Message::Malformed]);
    }

    #[test]
    fn a_list_ends_with_its_last_datagram() {
        let part = bytes("1400000010000200010000001a320000 00000000");
        assert!(!ends(&part));
        let done = bytes("1400000003000200010000001a320000 00000000");
        assert!(ends(&[part.clone(), done].concat()));
        assert!(ends(&part[..18]) && ends(&[]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (parse(&bytes), ends(&bytes));
        }

        /// Right heads, any bodies, cut off anywhere.
        #[test]
        fn any_body_is_survived(
            kind in 0_u16..32,
            flags in 0_u16..32,
            body in prop::collection::vec(any::<u8>(), 0..80),
            kept in 0_usize..100,
        ) {
            let mut bytes = message(kind, flags, &body, &[]);
            bytes.truncate(kept);
            let _ = (parse(&bytes), ends(&bytes));
        }
    }
}
