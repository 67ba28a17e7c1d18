//! What rtnetlink says of a link, an address, a route: the bodies of its messages.
//!
//! Only IPv4, only the fields that are needed. Attributes that do not fit are passed over; a fixed
//! part that does not fit makes the message malformed.

use std::net::Ipv4Addr;

/// AF_INET.
pub(super) const INET: u8 = 2;
/// IFF_UP.
pub(super) const UP: u32 = 1;
/// RTNH_F_DEAD and RTNH_F_LINKDOWN: the way is there, and nobody can go it.
const DEAD: u32 = 1 | 16;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number, never 0.
    pub index: u32,
    /// `eth0`.
    pub name: String,
    /// `bridge`, `veth`, `vxlan`; empty for hardware.
    pub kind: String,
    /// The bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// Whether it is administratively up.
    pub is_up: bool,
}

/// An IPv4 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The address itself.
    pub address: Ipv4Addr,
    /// Bits of the network, 24.
    pub prefix: u8,
    /// Whether it is meant for the whole network, not for this host or link only.
    pub is_global: bool,
}

/// An IPv4 route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; `0.0.0.0/0` is the default route.
    pub to: (Ipv4Addr, u8),
    /// The interface it takes; the first, where it has several.
    pub interface: Option<u32>,
    /// The address that packets get as their source.
    pub source: Option<Ipv4Addr>,
    /// The lowest wins.
    pub metric: u32,
    /// 254 is the main table.
    pub table: u32,
    /// What becomes of a packet.
    pub kind: RouteKind,
    /// Whether its interface is down or has no carrier.
    pub is_dead: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// It is sent.
    Unicast,
    /// It is for this host.
    Local,
    /// Anything else: broadcast, or not sent at all.
    Other,
}

pub(super) fn link(body: &[u8]) -> Option<Link> {
    let mut link =
        Link { index: word(body, 4)?, is_up: word(body, 8)? & UP != 0, ..Link::default() };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            3 => link.name = text(value),
            10 => link.master = word(value, 0),
            18 => {
                let info = attributes(value).find(|(kind, _)| *kind == 1);
                link.kind = info.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

pub(super) fn address(body: &[u8]) -> Option<Option<Address>> {
    let [family, prefix, _, scope, ..] = *body else { return None };
    let index = word(body, 4)?;
    let (mut own, mut peer) = (None, None);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            1 => peer = ipv4(value),
            2 => own = ipv4(value),
            _ => {}
        }
    }
    let address = own.or(peer).filter(|_| family == INET);
    Some(address.map(|address| Address { index, address, prefix, is_global: scope == 0 }))
}

pub(super) fn route(body: &[u8]) -> Option<Route> {
    let [_, prefix, _, _, table, _, _, kind, ..] = *body else { return None };
    let mut route = Route {
        to: (Ipv4Addr::UNSPECIFIED, prefix),
        interface: None,
        source: None,
        metric: 0,
        table: u32::from(table),
        kind: match kind {
            1 => RouteKind::Unicast,
            2 => RouteKind::Local,
            _ => RouteKind::Other,
        },
        is_dead: word(body, 8)? & DEAD != 0,
    };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            1 => route.to.0 = ipv4(value)?,
            4 => route.interface = word(value, 0),
            6 => route.metric = word(value, 0)?,
            7 => route.source = ipv4(value),
            // Several ways: a length, flags and weight, then the interface of the first.
            9 => {
                route.interface = route.interface.or_else(|| word(value, 4));
                route.is_dead |= value.get(2).is_some_and(|flags| u32::from(*flags) & DEAD != 0);
            }
            15 => route.table = word(value, 0)?,
            _ => {}
        }
    }
    Some(route)
}

/// The attributes up to the end, or up to the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(half(bytes, 0)?);
        let value = bytes.get(4..len)?;
        // The two highest bits say how the value is meant.
        let kind = half(bytes, 2)? & 0x3fff;
        bytes = bytes.get(aligned(len)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The next multiple of four.
pub(super) const fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

pub(super) fn int(bytes: &[u8], at: usize) -> Option<i32> {
    array(bytes, at).map(i32::from_ne_bytes)
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    array(bytes, 0).map(|octets: [u8; 4]| Ipv4Addr::from(octets))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes)).into_owned()
}
