// SPDX-License-Identifier: GPL-2.0

//! Connections that come to life behind the rule's back must not turn it against those that it has let
//! in.

use anyhow::{ensure, Result};

use super::each;
use super::revive::close_half_open;
use super::site::{Place, Site, LIMIT};
use super::victim::Victim;
use crate::difference::Difference::RefusedDisturbs;
use crate::net::packet::Flags;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Limit, Target};
use crate::variant::Family;

const RULE: Limit = limit(LIMIT as u32);

pub fn register(registry: &mut Registry) {
    each(registry, "over/own", Place::Input, over);
    each(registry, "over/neighbour", Place::Input, over_neighbour);
    each(registry, "freezerst", Place::Input, freezerst);
    each(registry, "reload", Place::Input, reload);
}

/// Has a closed connection revived where there is one place left, and another one fill the key. Returns
/// that, if it was let in.
fn revive_and_fill(site: &mut Site, client: u16, revived: &mut Peer) -> Result<Option<Peer>> {
    ensure!(site.begin(revived)?, "{} is not answered", revived.from);
    let mut last = site.peer_of(client);
    let last = site.open(&mut last)?.then_some(last);
    site.settle()?;
    Ok(last)
}

/// Its SYN is one too many now, and then conntrack has it as assured.
fn over(site: &mut Site) -> Result<()> {
    site.install(RULE.target(Target::Drop))?;
    let mut revived = site.peer();
    ensure!(close_half_open(site, &mut revived)?);
    site.settle()?;
    let mut admitted = site.admit_new(LIMIT - 1)?;
    admitted.extend(revive_and_fill(site, 1, &mut revived)?);
    site.send(&revived.syn_again()?)?;
    site.say(&revived, Flags::ACK)?;
    // The one that was revived has the last place.
    site.outcome(&admitted)?.is([LIMIT - 1, LIMIT - 1, LIMIT])
}

/// The same done by a stranger to its neighbours.
fn over_neighbour(site: &mut Site) -> Result<()> {
    const OF_VICTIM: usize = 3;
    let mask = match site.family {
        Family::Ipv4 => 24,
        Family::Ipv6 => 64,
    };
    site.install(RULE.mask(mask).target(Target::Drop))?;
    let mut revived = site.peer();
    ensure!(close_half_open(site, &mut revived)?);
    site.settle()?;
    let mut victim = Victim::new(site, 9)?;
    victim.connect(site, OF_VICTIM)?;
    site.admit_new(LIMIT - 1 - OF_VICTIM)?;
    revive_and_fill(site, 1, &mut revived)?;
    site.send(&revived.syn_again()?)?;
    site.say(&revived, Flags::ACK)?;
    site.settle()?;
    let alive = site.alive()?;
    let of_victim = victim.count(&alive);
    site.observe("the victim's", of_victim).is(OF_VICTIM)?;
    site.observe("all", alive.len()).is(LIMIT)
}

/// The same with a target that rejects. All that matters comes within a jiffy, if time permits; so some
/// clients try it, one after the other.
fn freezerst(site: &mut Site) -> Result<()> {
    const CLIENTS: u16 = 15;
    site.install(RULE.target(Target::Reject))?;
    for client in 1..=CLIENTS {
        if freezerst_as(site, client)? {
            return site.observe("one that was let in is lost", true).differs(
                false,
                true,
                RefusedDisturbs,
            );
        }
    }
    site.observe("one that was let in is lost", false)
        .differs(false, true, RefusedDisturbs)?;
    let all = usize::from(CLIENTS) * LIMIT;
    let alive = site.alive()?.len();
    site.observe("all", alive).is(all)
}

/// The rule learns of the one that is revived by a RST that conntrack finds invalid, so that no answer to
/// that closes its entry, and its ACK is rejected. Returns whether any that was let in is reset, or does
/// not answer.
fn freezerst_as(site: &mut Site, client: u16) -> Result<bool> {
    let mut revived = site.peer_of(client);
    ensure!(close_half_open(site, &mut revived)?);
    site.settle()?;
    let mut admitted = Vec::new();
    for _ in 1..LIMIT {
        let mut peer = site.peer_of(client);
        site.admit(&mut peer)?;
        admitted.push(peer);
    }
    admitted.extend(revive_and_fill(site, client, &mut revived)?);
    let mut packets = vec![
        revived.behind(1000, Flags::RST)?,
        site.peer_of(client).syn()?,
        revived.packet(Flags::ACK)?,
    ];
    for peer in &mut admitted {
        packets.push(peer.data(b"data")?);
    }
    for packet in &packets {
        site.send(packet)?;
    }
    let heard = site.hear()?;
    site.settle()?;
    let alive = site.alive()?;
    Ok(admitted.iter().any(|peer| {
        let mut of_peer = heard.iter().filter(|(segment, _)| segment.to == peer.from);
        of_peer.any(|(segment, _)| segment.flags.rst) || !alive.contains(&peer.from)
    }))
}

/// A connection is half open when the rule is made anew, others fill the key, and it goes on.
fn reload(site: &mut Site) -> Result<()> {
    let rule = RULE.target(Target::Drop);
    site.install(rule)?;
    let mut half_open = site.peer();
    ensure!(site.begin(&mut half_open)?, "it is not answered");
    site.install(rule)?;
    let admitted = site.admit_new(LIMIT)?;
    site.send(&half_open.syn_again()?)?;
    site.say(&half_open, Flags::ACK)?;
    let outcome = site.outcome(&admitted)?;
    outcome.differs([LIMIT; 3], [LIMIT, 0, 0], RefusedDisturbs)
}
