// SPDX-License-Identifier: GPL-2.0

//! A program behind the rule holds packets for longer than any grace period of RCU.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::decision::Observed;
use crate::difference::Difference::HeldForgotten;
use crate::net::address::PORT;
use crate::net::nfqueue::Queue;
use crate::net::packet::Flags;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Limit, Ruleset, Target};

const RULE: Limit = limit(LIMIT as u32).target(Target::Drop);
/// How many times as many as the limit come while packets are held.
const WAVES: usize = 4;
/// These are more than a rule remembers as lost.
const MANY_WAVES: usize = 20;
const HELD_FOR: Duration = Duration::from_millis(500);

pub fn register(registry: &mut Registry) {
    each(registry, "nfqueue/all", Place::Input, |site| {
        behind_queue(site, RULE)
    });
    each(registry, "nfqueue/syn", Place::Input, |site| {
        behind_queue(site, RULE.syn())
    });
    // The ACKs of those that have come after all, and whose places others have, are refused.
    each(registry, "nfqueue/while_held", Place::Input, |site| {
        let outcome = while_held(site, RULE, WAVES)?;
        outcome.differs([LIMIT; 3], [WAVES * LIMIT; 3], HeldForgotten)
    });
    // The rule has forgotten most of them when they come.
    each(registry, "nfqueue/many", Place::Input, |site| {
        let outcome = while_held(site, RULE, MANY_WAVES)?;
        outcome.differs([LIMIT; 3], [MANY_WAVES * LIMIT; 3], HeldForgotten)
    });
    // Where only SYNs come to the rule, nothing is left to refuse. No rule knows whether a packet was
    // dropped behind it or is held there.
    each(registry, "nfqueue/while_held_syn", Place::Input, |site| {
        while_held(site, RULE.syn(), WAVES)?.is([WAVES * LIMIT; 3])
    });
}

/// So many times as many as the limit come while the first are held.
fn while_held(site: &mut Site, rule: Limit, waves: usize) -> Result<Observed<[usize; 3]>> {
    set_up(site, rule)?;
    let mut peers: Vec<Peer> = (0..waves * LIMIT).map(|_| site.peer()).collect();
    for wave in peers.chunks_mut(LIMIT) {
        for peer in wave {
            site.send(&peer.syn()?)?;
        }
        site.settle()?;
    }
    let admitted = establish(site, peers)?;
    site.outcome(&admitted)
}

/// As many as are let in, then as many again.
fn behind_queue(site: &mut Site, rule: Limit) -> Result<()> {
    set_up(site, rule)?;
    let mut admitted = wave(site, LIMIT)?;
    let first = admitted.len();
    ensure!(first == LIMIT, "{first} of the first are open");
    admitted.extend(wave(site, LIMIT)?);
    let outcome = site.outcome(&admitted)?;
    outcome.differs([LIMIT; 3], [2 * LIMIT; 3], HeldForgotten)
}

fn set_up(site: &mut Site, rule: Limit) -> Result<()> {
    let syn = if rule.syn { " --syn" } else { "" };
    let queue = format!("-p tcp --dport {PORT}{syn} -j NFQUEUE --queue-num 0");
    let rules = Ruleset::default()
        .filter(site.chain(), site.rule(&rule))
        .filter(site.chain(), queue);
    site.iptables.restore(&rules)?;
    site.queue = Some(Queue::bind(0)?);
    Ok(())
}

/// Opens so many, one soon after the other. Returns those that are open at the server.
fn wave(site: &mut Site, count: usize) -> Result<Vec<Peer>> {
    let mut peers: Vec<Peer> = (0..count).map(|_| site.peer()).collect();
    for peer in &mut peers {
        site.send(&peer.syn()?)?;
        site.settle()?;
    }
    establish(site, peers)
}

/// Completes what was begun. Returns those that are open at the server.
fn establish(site: &mut Site, mut peers: Vec<Peer>) -> Result<Vec<Peer>> {
    hold(site)?;
    let heard = site.hear()?;
    for peer in &mut peers {
        if heard.iter().any(|(segment, _)| peer.takes_answer(segment)) {
            site.say(peer, Flags::ACK)?;
        }
    }
    hold(site)?;
    let open = site.server.open()?;
    peers.retain(|peer| open.contains(&peer.from));
    Ok(peers)
}

/// Lets what the queue has go on, after a while.
fn hold(site: &mut Site) -> Result<()> {
    thread::sleep(HELD_FOR);
    site.release()
}
