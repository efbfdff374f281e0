// SPDX-License-Identifier: GPL-2.0

//! A server that helps its clients: it answers a SYN that the router has dropped.

use anyhow::{bail, Result};

use super::each;
use super::site::{Place, Site, LIMIT};
use super::wire::Wire;
use crate::difference::Difference::RevivedNotCounted;
use crate::net::packet::{Flags, Packet};
use crate::net::peer::Peer;
use crate::net::tun::Tun;
use crate::registry::Registry;
use crate::rules::{limit, Target};

const GENERATIONS: usize = 5;
const SERVER_FIRST: u32 = 0x5000_0000;

pub fn register(registry: &mut Registry) {
    each(registry, "colluder", Place::Forward, colluder);
}

/// Both sides are played by hand; what is open is what the server's side gets data of.
fn colluder(site: &mut Site) -> Result<()> {
    const ALL: usize = GENERATIONS * LIMIT;
    site.install(limit(LIMIT as u32).target(Target::Drop))?;
    let Wire::Routed { inside, .. } = &site.wire else {
        bail!("there is no router");
    };
    let inside = inside.try_clone()?;
    let mut closed = Vec::new();
    for _ in 1..GENERATIONS {
        for _ in 0..LIMIT {
            let mut peer = site.peer();
            shake_hands(site, &inside, &mut peer)?;
            site.send(&peer.packet(Flags::RST)?)?;
            site.check_state(&peer, "CLOSE", true)?;
            closed.push(peer);
        }
        site.settle()?;
    }
    let mut opened: Vec<Peer> = (0..LIMIT).map(|_| site.peer()).collect();
    for peer in &mut opened {
        shake_hands(site, &inside, peer)?;
    }
    for mut peer in closed {
        // Whether it passes or not, the last packet is no RST any more.
        site.send(&peer.packet(Flags::ACK)?)?;
        shake_hands(site, &inside, &mut peer)?;
        opened.push(peer);
    }
    forget(&inside)?;
    for peer in &mut opened {
        site.send(&peer.data(b"data")?)?;
    }
    let mut arrived = 0;
    while let Some(packet) = inside.receive(std::time::Duration::ZERO)? {
        arrived += usize::from(matches!(packet, Packet::Tcp { data, .. } if data > 0));
    }
    site.observe("connections that have data arrive", arrived)
        .differs(LIMIT, ALL, RevivedNotCounted)
}

/// All three packets, whatever becomes of the first.
fn shake_hands(site: &Site, inside: &Tun, peer: &mut Peer) -> Result<()> {
    site.send(&peer.syn()?)?;
    let answer = peer.by_server(Flags::SYN_ACK, SERVER_FIRST);
    inside.send(&answer.bytes()?)?;
    peer.takes_answer(&answer);
    site.send(&peer.packet(Flags::ACK)?)
}

/// Reads what is there.
fn forget(tun: &Tun) -> Result<()> {
    while tun.read(std::time::Duration::ZERO)?.is_some() {}
    Ok(())
}
