//! What the kernel says, or whoever can send on its sockets.

use std::io;

use pisup::wire::{netlink, network};

/// An answer of rtnetlink, as messages and as answers to every question there is.
pub fn netlink(bytes: &[u8]) {
    let messages = netlink::parse(bytes);
    // A header has 16 bytes, and one that was interrupted counts twice.
    assert!(messages.len() <= 2 * (bytes.len() / 16 + 1));
    let malformed = messages.iter().position(|one| *one == netlink::Message::Malformed);
    assert!(malformed.is_none_or(|at| at + 1 == messages.len()), "{messages:?}");
    let _ = netlink::ends(bytes);
    let mut count = 0;
    let mut ask = |_: &[u8]| -> io::Result<Vec<u8>> {
        count += 1;
        Ok(bytes.to_vec())
    };
    let to = Some([192, 168, 1, 10].into());
    let _ = network::links(&mut ask);
    let _ = network::link("eth0", &mut ask);
    let _ = network::addresses(&mut ask);
    let _ = network::has_route(None, &mut ask);
    let _ = network::default_interface(None, &mut ask);
    let _ = network::default_interface(to, &mut ask);
    assert!(count <= 40, "asked {count} times");
}
