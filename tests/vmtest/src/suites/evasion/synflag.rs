// SPDX-License-Identifier: GPL-2.0

//! Rules with `--syn`: a connection that was refused seems to be let through, as one of its packets
//! that the rule does not see has conntrack pick it up. Then the SYN of a live one is sent again.

use anyhow::{ensure, Result};

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::difference::Difference::RejectedWhileLive;
use crate::net::packet::Flags;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Limit, Target};

const RULE: Limit = limit(LIMIT as u32).syn();

/// How often it is tried to get one more in.
const TIMES: usize = 10;

pub fn register(registry: &mut Registry) {
    each(registry, "synflag/drop", Place::Input, |site| {
        let opened = fill(site, RULE.target(Target::Drop), open_unassured)?;
        site.outcome(&opened)?.is([LIMIT; 3])
    });
    each(registry, "synflag/reject", Place::Input, |site| {
        let opened = fill(site, RULE.target(Target::Reject), open_unassured)?;
        let outcome = site.outcome(&opened)?;
        outcome.differs([LIMIT; 3], [LIMIT + TIMES; 3], RejectedWhileLive)
    });
    each(registry, "forge", Place::Input, |site| {
        let opened = fill(site, RULE.target(Target::Reject), Site::open)?;
        let outcome = site.outcome(&opened)?;
        outcome.differs([LIMIT; 3], [LIMIT + TIMES; 3], RejectedWhileLive)
    });
}

/// Opens a connection by a FIN instead of the last ACK, so that conntrack never has it as assured. It
/// is open at the server, which may send.
fn open_unassured(site: &mut Site, peer: &mut Peer) -> Result<bool> {
    if site.begin(peer)? {
        site.say(peer, Flags::FIN_ACK)?;
        peer.next = peer.next.wrapping_add(1);
    }
    Ok(site.server.open()?.contains(&peer.from))
}

/// Opens as many as are let in, and again after each attempt to have the rule forget one. Returns
/// those that were let in.
fn fill(
    site: &mut Site,
    rule: Limit,
    open: fn(&mut Site, &mut Peer) -> Result<bool>,
) -> Result<Vec<Peer>> {
    site.install(rule)?;
    let mut opened: Vec<Peer> = Vec::new();
    for _ in 0..LIMIT {
        let mut peer = site.peer();
        ensure!(open(site, &mut peer)?, "{} is not let in", peer.from);
        opened.push(peer);
    }
    for round in 0..TIMES {
        let mut refused = site.peer();
        ensure!(!site.begin(&mut refused)?, "{} is let in", refused.from);
        // The server takes no notice of it.
        site.send(&refused.signed(Flags::ACK)?)?;
        site.check_state(&refused, "ESTABLISHED", false)?;
        site.settle()?;
        if let Some(live) = opened.get(round) {
            site.send(&live.syn_again()?)?;
        }
        site.say(&refused, Flags::RST)?;
        ensure!(site.state(&refused)?.is_none(), "it is still there");
        site.settle()?;
        let mut next = site.peer();
        if open(site, &mut next)? {
            opened.push(next);
        }
        site.settle()?;
    }
    Ok(opened)
}
