//! Questions about this host's network, put to the kernel by a function that carries bytes.
//!
//! `ask` sends a request of [`super::netlink`] and brings back the whole answer; which socket it
//! uses is not known here, so that every answer can be made up in a test.

use std::io;
use std::net::Ipv4Addr;

use super::netlink::{self, Address, Link, Message, NO_DEVICE, Route, RouteKind};

const MAIN_TABLE: u32 = 254;

/// A list that changes while it is told is asked for again, so many times.
const TRIES: usize = 4;

/// Whether a packet can go to this address or, with `None`, out of the local networks.
///
/// A way through an interface that is down or without carrier is none.
pub fn has_route(
    to: Option<Ipv4Addr>,
    ask: impl FnMut(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<bool> {
    way(to, ask).map(|way| way.is_some())
}

/// The interface that a packet to this address (with `None`: a packet out of the local networks)
/// takes, and that interface's own IPv4 address.
pub fn default_interface(
    to: Option<Ipv4Addr>,
    mut ask: impl FnMut(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<Option<(String, Ipv4Addr)>> {
    let Some(route) = way(to, &mut ask)? else { return Ok(None) };
    let addresses = addresses(&mut ask)?;
    let on = |index| addresses.iter().filter(move |address| address.index == index);
    let found = if route.kind == RouteKind::Local {
        // The way to an own address leads over the loopback; what counts is who carries it.
        addresses.iter().find(|address| Some(address.address) == to).copied()
    } else {
        let Some(index) = route.interface else { return Ok(None) };
        let preferred = on(index).find(|address| Some(address.address) == route.source);
        let global = on(index).find(|address| address.is_global);
        preferred.or(global).or_else(|| on(index).next()).copied()
    };
    let Some(address) = found else { return Ok(None) };
    let links = links(ask)?;
    let link = links.into_iter().find(|link| link.index == address.index);
    Ok(link.map(|link| (link.name, address.address)))
}

fn way(
    to: Option<Ipv4Addr>,
    mut ask: impl FnMut(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<Option<Route>> {
    let route = |message| match message {
        Message::Route(route) => Some(route),
        _ => None,
    };
    let is_usable = |route: &Route| {
        !route.is_dead && matches!(route.kind, RouteKind::Unicast | RouteKind::Local)
    };
    let Some(to) = to else {
        let routes = answer(&netlink::get_routes(), ask)?.into_iter().filter_map(route);
        let defaults = routes.filter(|route| route.to.1 == 0 && route.table == MAIN_TABLE);
        return Ok(defaults.filter(is_usable).min_by_key(|route| route.metric));
    };
    match answer(&netlink::get_route(to), &mut ask) {
        Ok(messages) => Ok(messages.into_iter().find_map(route).filter(is_usable)),
        Err(error) if is_no_way(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// EINVAL (blackhole), EACCES (prohibit), ENETUNREACH, EHOSTUNREACH: answers, not failures.
fn is_no_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(22 | 13 | 101 | 113))
}

/// All links.
pub fn links(ask: impl FnMut(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<Vec<Link>> {
    let link = |message| match message {
        Message::Link(link) => Some(link),
        _ => None,
    };
    Ok(answer(&netlink::get_links(), ask)?.into_iter().filter_map(link).collect())
}

/// The link of that name, if there is one.
pub fn link(name: &str, ask: impl FnMut(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<Option<Link>> {
    match answer(&netlink::get_link(name), ask) {
        Ok(messages) => Ok(messages.into_iter().find_map(|message| match message {
            Message::Link(link) => Some(link),
            _ => None,
        })),
        Err(error) if error.raw_os_error() == Some(NO_DEVICE) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All IPv4 addresses.
pub fn addresses(ask: impl FnMut(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<Vec<Address>> {
    let address = |message| match message {
        Message::Address(address) => Some(address),
        _ => None,
    };
    Ok(answer(&netlink::get_addresses(), ask)?.into_iter().filter_map(address).collect())
}

/// Puts one request; a refusal is the error that the kernel gave.
pub fn answer(
    request: &[u8],
    mut ask: impl FnMut(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<Message>> {
    for _ in 0..TRIES {
        let messages = netlink::parse(&ask(request)?);
        for message in &messages {
            match message {
                Message::Failed(errno) => return Err(io::Error::from_raw_os_error(*errno)),
                Message::Malformed => {
                    let what = "the kernel's answer is cut off or malformed";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                _ => {}
            }
        }
        if !messages.contains(&Message::Interrupted) {
            return Ok(messages);
        }
    }
    let what = "the network changes faster than it can be read";
    Err(io::Error::new(io::ErrorKind::Interrupted, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET_LINK: u16 = 18;
    const GET_ADDRESS: u16 = 22;
    const GET_ROUTE: u16 = 26;
    const MASTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);

    fn part(kind: u16, head: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        netlink::message(kind, 2, head, attributes)
    }

    fn done() -> Vec<u8> {
        part(3, &[0; 4], &[])
    }

    fn failed(errno: i32) -> Vec<u8> {
        part(2, &(-errno).to_ne_bytes(), &[])
    }

    fn link_part(index: u8, name: &str) -> Vec<u8> {
        part(16, &[0, 0, 0, 0, index, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &[(3, name.as_bytes())])
    }

    fn address_part(index: u8, address: [u8; 4], scope: u8) -> Vec<u8> {
        part(20, &[2, 24, 0, scope, index, 0, 0, 0], &[(2, &address)])
    }

    /// `kind`: 1 is unicast, 2 is local.
    fn route_part(prefix: u8, kind: u8, flags: u8, link: u8, metric: u8, more: &[u8]) -> Vec<u8> {
        let (link, metric) = ([link, 0, 0, 0], [metric, 0, 0, 0]);
        let mut attributes: Vec<(u16, &[u8])> = vec![(4, &link), (6, &metric)];
        if !more.is_empty() {
            attributes.push((7, more));
        }
        part(24, &[2, prefix, 0, 0, 254, 0, 0, kind, flags, 0, 0, 0], &attributes)
    }

    /// A host with loopback, eth0 (two addresses) and wlan0, and these routes.
    fn host(routes: &[Vec<u8>]) -> impl FnMut(&[u8]) -> io::Result<Vec<u8>> {
        let routes = routes.concat();
        move |request| {
            let kind = u16::from_ne_bytes([request[4], request[5]]);
            Ok(match kind {
                GET_LINK => {
                    [link_part(1, "lo"), link_part(2, "eth0"), link_part(3, "wlan0"), done()]
                        .concat()
                }
                GET_ADDRESS => [
                    address_part(1, [127, 0, 0, 1], 254),
                    address_part(2, [169, 254, 7, 7], 253),
                    address_part(2, [192, 168, 1, 11], 0),
                    address_part(2, [192, 168, 1, 12], 0),
                    address_part(3, [10, 9, 8, 7], 0),
                    done(),
                ]
                .concat(),
                GET_ROUTE => [routes.clone(), done()].concat(),
                other => panic!("request {other}"),
            })
        }
    }

    fn interface(to: Option<Ipv4Addr>, routes: &[Vec<u8>]) -> Option<String> {
        let found = default_interface(to, host(routes)).unwrap();
        assert!(found.is_none() || has_route(to, host(routes)).unwrap());
        found.map(|(name, address)| format!("{name} {address}"))
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_wins() {
        let wlan = route_part(0, 1, 0, 3, 200, &[]);
        let eth = route_part(0, 1, 0, 2, 100, &[]);
        assert_eq!(interface(None, &[wlan.clone(), eth]).unwrap(), "eth0 192.168.1.11");
        let cable_out = route_part(0, 1, 16, 2, 100, &[]);
        assert_eq!(interface(None, &[wlan, cable_out.clone()]).unwrap(), "wlan0 10.9.8.7");
        let preferred = route_part(0, 1, 0, 2, 0, &[192, 168, 1, 12]);
        assert_eq!(interface(None, &[preferred]).unwrap(), "eth0 192.168.1.12");
        for useless in [cable_out, route_part(24, 1, 0, 2, 0, &[]), route_part(0, 7, 0, 2, 0, &[])]
        {
            assert_eq!(interface(None, std::slice::from_ref(&useless)), None);
            assert!(!has_route(None, host(&[useless])).unwrap());
        }
    }

    #[test]
    fn the_way_to_an_address() {
        let way = route_part(32, 1, 0, 3, 0, &[10, 9, 8, 7]);
        assert_eq!(interface(Some(MASTER), &[way]).unwrap(), "wlan0 10.9.8.7");
        let own = route_part(32, 2, 0, 1, 0, &[192, 168, 1, 12]);
        let to = Some(Ipv4Addr::new(192, 168, 1, 12));
        assert_eq!(interface(to, &[own]).unwrap(), "eth0 192.168.1.12");
        let is_there = |errno| has_route(Some(MASTER), move |_: &[u8]| Ok(failed(errno)));
        for errno in [101, 113, 13, 22] {
            assert!(!is_there(errno).unwrap());
        }
        assert_eq!(is_there(12).unwrap_err().raw_os_error(), Some(12));
    }

    #[test]
    fn links_by_name() {
        let found = link("lo", |_: &[u8]| Ok(link_part(1, "lo"))).unwrap().unwrap();
        assert_eq!((found.index, found.name.as_str()), (1, "lo"));
        assert_eq!(link("lo", |_: &[u8]| Ok(failed(NO_DEVICE))).unwrap(), None);
        assert!(link("lo", |_: &[u8]| Ok(failed(1))).is_err());
    }

    #[test]
    fn bad_answers_are_errors() {
        let whole = [link_part(1, "lo"), done()].concat();
        for cut in 1..whole.len() {
            let links = links(|_: &[u8]| Ok(whole[..cut].to_vec()));
            // Without its end the list is whole only where a message ends.
            assert_eq!(links.is_ok(), cut == link_part(1, "lo").len(), "{cut}");
        }
        let mut asked = 0;
        let mut changing = whole.clone();
        changing[6] |= 0x10;
        let result = links(|_: &[u8]| {
            asked += 1;
            Ok(if asked < TRIES { changing.clone() } else { whole.clone() })
        });
        assert_eq!(result.unwrap().len(), 1);
        let result = links(|_: &[u8]| Ok(changing.clone()));
        assert!(result.unwrap_err().to_string().contains("changes faster"));
    }
}
