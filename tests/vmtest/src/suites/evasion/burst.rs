// SPDX-License-Identifier: GPL-2.0

//! A hop away from the server an entry that is about to be revived stays in CLOSE for a round trip, and
//! any number of others may follow within it.

use anyhow::{ensure, Result};

use super::each;
use super::revive::close_half_open;
use super::site::{Place, Site, LIMIT};
use crate::difference::Difference::RevivedNotCounted;
use crate::net::link;
use crate::net::packet::Flags;
use crate::registry::Registry;
use crate::rules::{limit, Target};

pub fn register(registry: &mut Registry) {
    each(registry, "burst", Place::Forward, burst);
}

fn burst(site: &mut Site) -> Result<()> {
    const PORTS: usize = 100;
    // To close so many takes a slow machine a while.
    link::conntrack_timeout("tcp_timeout_close", 60)?;
    let rule = |limited: usize| limit(limited as u32).target(Target::Drop);
    // What goes on after a reset counts for two seconds, which would take too long here.
    site.install(rule(PORTS))?;
    let mut closed = Vec::new();
    for _ in 0..PORTS {
        let mut peer = site.peer();
        let so_far = close_half_open(site, &mut peer)?;
        ensure!(so_far, "{} is not answered", peer.from);
        closed.push(peer);
    }
    site.settle()?;
    site.install(rule(LIMIT))?;
    for peer in &mut closed {
        // The router has it, the server does not yet.
        site.send(&peer.syn()?)?;
    }
    let heard = site.hear()?;
    for peer in &mut closed {
        if heard.iter().any(|(segment, _)| peer.takes_answer(segment)) {
            site.say(peer, Flags::ACK)?;
        }
    }
    let open = site.server.open()?;
    closed.retain(|peer| open.contains(&peer.from));
    let outcome = site.outcome(&closed)?;
    outcome.differs([LIMIT; 3], [PORTS; 3], RevivedNotCounted)
}
