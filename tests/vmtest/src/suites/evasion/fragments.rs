// SPDX-License-Identifier: GPL-2.0

//! SYNs with data, in two fragments.

use anyhow::Result;

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::net::fragment::fragments;
use crate::net::packet::Flags;
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::variant::Family;

const ATTEMPTS: u16 = 4 * LIMIT as u16;

pub fn register(registry: &mut Registry) {
    for (name, place) in [("input", Place::Input), ("forward", Place::Forward)] {
        each(registry, &format!("fragments/{name}"), place, attempts);
    }
}

fn attempts(site: &mut Site) -> Result<()> {
    let in_first = match site.family {
        // The ports, and the sequence number.
        Family::Ipv4 => 8,
        // IPv6 takes no first fragment without the whole header of TCP.
        Family::Ipv6 => 24,
    };
    site.install(limit(LIMIT as u32).target(Target::Drop))?;
    let mut opened = Vec::new();
    for id in 0..ATTEMPTS {
        let mut peer = site.peer();
        for fragment in fragments(&peer.syn_with_data(b"sixteen of bytes")?, in_first, id)? {
            site.send(&fragment)?;
        }
        if site.take_answer(&mut peer)? {
            site.say(&peer, Flags::ACK)?;
            opened.push(peer);
        }
    }
    site.outcome(&opened)?.is([LIMIT; 3])
}
