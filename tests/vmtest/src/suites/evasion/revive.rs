// SPDX-License-Identifier: GPL-2.0

//! Connections that conntrack has as closed, and that another SYN brings back to life: conntrack
//! ignores that SYN, lets it pass, and believes the server's answer.

use anyhow::Result;

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::difference::Difference::RevivedNotCounted;
use crate::net::packet::Flags;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Limit, Ruleset, Target};

const RULE: Limit = limit(LIMIT as u32);

pub fn register(registry: &mut Registry) {
    for (name, target) in [("drop", Target::Drop), ("reject", Target::Reject)] {
        let name = format!("halfrevive/{name}");
        each(registry, &name, Place::Input, move |site| {
            halfrevive(site, RULE.target(target))
        });
    }
    each(registry, "evade", Place::Input, evade);
    each(registry, "batch/plain", Place::Input, batch);
    each(registry, "batch/raw", Place::Input, batch_raw);
    each(
        registry,
        "batch/established_first",
        Place::Input,
        batch_behind,
    );
    each(registry, "oldclose", Place::Input, oldclose);
}

/// Leaves an entry in CLOSE that was never assured, and nothing at the server. Returns whether the
/// rule has let it get so far.
pub fn close_half_open(site: &Site, peer: &mut Peer) -> Result<bool> {
    if !site.begin(peer)? {
        return Ok(false);
    }
    site.say(peer, Flags::RST)?;
    make_revivable(site, peer)?;
    Ok(true)
}

/// After a RST of the client, conntrack would take its next SYN for a new connection. The server
/// answers this packet by a RST of its own.
pub fn make_revivable(site: &Site, peer: &Peer) -> Result<()> {
    site.say(peer, Flags::ACK)
}

fn halfrevive(site: &mut Site, rule: Limit) -> Result<()> {
    const PORTS: usize = 100;
    site.install(rule)?;
    let mut opened = Vec::new();
    for _ in 0..PORTS {
        let mut peer = site.peer();
        if close_half_open(site, &mut peer)? && site.open(&mut peer)? {
            opened.push(peer);
        }
    }
    site.outcome(&opened)?.is([LIMIT, LIMIT, LIMIT])
}

/// Opens connections, so many at a time as are let in, and has `end` end them. Returns those of all
/// generations, which conntrack has as closed and assured.
fn closed_generations(
    site: &mut Site,
    count: usize,
    end: fn(&mut Site, &Peer) -> Result<()>,
) -> Result<Vec<Peer>> {
    let mut closed = Vec::new();
    for _ in 0..count {
        let generation = site.admit_new(LIMIT)?;
        for peer in &generation {
            end(site, peer)?;
            site.check_state(peer, "CLOSE", true)?;
        }
        site.settle()?;
        closed.extend(generation);
    }
    Ok(closed)
}

/// The server does so when it closes a connection that it has not read all of.
fn reset_by_server(site: &mut Site, peer: &Peer) -> Result<()> {
    site.server.reset(peer.from)?;
    site.hear()?;
    Ok(())
}

fn reset_by_client(site: &mut Site, peer: &Peer) -> Result<()> {
    site.say(peer, Flags::RST)
}

/// Opens these again, and returns those that are open then, after `opened`.
fn open_again(site: &mut Site, closed: Vec<Peer>, mut opened: Vec<Peer>) -> Result<Vec<Peer>> {
    for mut peer in closed {
        if site.open(&mut peer)? {
            opened.push(peer);
        }
    }
    Ok(opened)
}

fn evade(site: &mut Site) -> Result<()> {
    site.install(RULE.target(Target::Drop))?;
    let closed = closed_generations(site, 1, reset_by_server)?;
    let opened = site.admit_new(LIMIT)?;
    let opened = open_again(site, closed, opened)?;
    let outcome = site.outcome(&opened)?;
    outcome.differs([LIMIT; 3], [2 * LIMIT; 3], RevivedNotCounted)
}

const GENERATIONS: usize = 5;
const OF_ALL: usize = GENERATIONS * LIMIT;

/// All but the last generation are closed, and then opened again.
fn generations(site: &mut Site) -> Result<Vec<Peer>> {
    let closed = closed_generations(site, GENERATIONS - 1, reset_by_client)?;
    let opened = site.admit_new(LIMIT)?;
    // Not before: what goes on after a reset counts for two seconds.
    for peer in &closed {
        make_revivable(site, peer)?;
    }
    open_again(site, closed, opened)
}

fn batch(site: &mut Site) -> Result<()> {
    site.install(RULE.target(Target::Drop))?;
    let opened = generations(site)?;
    let outcome = site.outcome(&opened)?;
    outcome.differs([LIMIT; 3], [OF_ALL; 3], RevivedNotCounted)
}

/// The same in a table that comes before conntrack: its last packet of the connection is not the SYN yet.
fn batch_raw(site: &mut Site) -> Result<()> {
    site.install_raw(RULE.syn().target(Target::Drop))?;
    let opened = generations(site)?;
    let outcome = site.outcome(&opened)?;
    outcome.differs([LIMIT; 3], [OF_ALL; 3], RevivedNotCounted)
}

/// The same where the SYN that revives does not come to the rule: an earlier one accepts it as part of
/// an established connection. No rule can count what it does not see.
fn batch_behind(site: &mut Site) -> Result<()> {
    let rules = Ruleset::default()
        .filter(site.chain(), "-m conntrack --ctstate ESTABLISHED -j ACCEPT")
        .filter(site.chain(), site.rule(&RULE.target(Target::Drop)));
    site.iptables.restore(&rules)?;
    let opened = generations(site)?;
    let outcome = site.outcome(&opened)?;
    outcome.is([OF_ALL; 3])
}

/// Connections that were closed before the rule was made anew, which knows nothing of them.
fn oldclose(site: &mut Site) -> Result<()> {
    const GENERATIONS: usize = 2;
    const ALL: usize = GENERATIONS * LIMIT;
    let rule = RULE.target(Target::Drop);
    site.install(rule)?;
    let closed = closed_generations(site, GENERATIONS, reset_by_server)?;
    // What keeps them for another ten seconds.
    for peer in &closed {
        make_revivable(site, peer)?;
        site.check_state(peer, "CLOSE", true)?;
    }
    site.install(rule)?;
    let opened = open_again(site, closed, Vec::new())?;
    let outcome = site.outcome(&opened)?;
    outcome.differs([LIMIT; 3], [ALL; 3], RevivedNotCounted)
}
