// SPDX-License-Identifier: GPL-2.0

//! Programs on the firewall itself open connections to a server whose address is the rule's key.

use anyhow::Result;

use super::each;
use super::revive::close_half_open;
use super::site::{Place, Site, LIMIT};
use crate::registry::Registry;
use crate::rules::{limit, Target};

const CLIENTS: u16 = 4;
const ATTEMPTS: u16 = 5 * LIMIT as u16;

pub fn register(registry: &mut Registry) {
    each(registry, "output_daddr", Place::Output, halfrevive);
}

/// Each is half open, reset, and opened again.
fn halfrevive(site: &mut Site) -> Result<()> {
    site.install(limit(LIMIT as u32).daddr().target(Target::Drop))?;
    let mut opened = Vec::new();
    for attempt in 0..ATTEMPTS {
        let mut peer = site.peer_of(1 + attempt % CLIENTS);
        if close_half_open(site, &mut peer)? && site.open(&mut peer)? {
            opened.push(peer);
        }
    }
    site.outcome(&opened)?.is([LIMIT; 3])
}
