// SPDX-License-Identifier: GPL-2.0

//! ICMP errors about connections of an attacker, in the name of a victim.

use anyhow::{ensure, Result};

use super::each;
use super::site::{Place, Site, LIMIT};
use super::victim::Victim;
use crate::difference::Difference::ErrorsCounted;
use crate::net::packet::{self, Flags};
use crate::registry::Registry;
use crate::rules::{limit, Ruleset, Target};
use crate::variant::Family;

pub fn register(registry: &mut Registry) {
    each(registry, "forged_icmp", Place::Input, forged_icmp);
}

/// The attacker has connections half open, has errors come about each, and then completes them.
fn forged_icmp(site: &mut Site) -> Result<()> {
    const OF_VICTIM: usize = 2;
    const ATTACKERS: [u16; 2] = [1, 2];
    const EACH: usize = 4;
    let rule = limit(LIMIT as u32).of("").target(Target::Drop);
    // What IPv6 needs to know its neighbours tells no connection, and would be dropped.
    let rules = match site.family {
        Family::Ipv4 => Ruleset::default(),
        Family::Ipv6 => [135, 136].iter().fold(Ruleset::default(), |rules, kind| {
            let accept = format!("-p icmpv6 --icmpv6-type {kind} -j ACCEPT");
            rules.filter(site.chain(), accept)
        }),
    };
    site.iptables
        .restore(&rules.filter(site.chain(), site.rule(&rule)))?;
    let mut victim = Victim::new(site, 0x109)?;
    victim.connect(site, OF_VICTIM)?;

    let mut half_open = Vec::new();
    for attacker in ATTACKERS {
        for _ in 0..EACH {
            let mut peer = site.peer_of(attacker);
            ensure!(site.begin(&mut peer)?, "{} is not answered", peer.from);
            half_open.push(peer);
        }
    }
    for peer in &half_open {
        let about = peer.by_server(Flags::SYN_ACK, peer.awaited.wrapping_sub(1));
        let error = packet::unreachable(victim.address, peer.to.ip(), &about.bytes()?)?;
        site.send(&error)?;
    }
    for peer in &half_open {
        site.say(peer, Flags::ACK)?;
    }
    site.settle()?;
    let alive = site.alive()?;
    let of_victim = victim.count(&alive);
    site.observe("the victim's", of_victim)
        .differs(OF_VICTIM, 0, ErrorsCounted)
}
