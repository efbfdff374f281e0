// SPDX-License-Identifier: GPL-2.0

//! Conntrack lets go of a connection, and picks it up again from a packet of its server: from then on
//! the server has begun it, and its client replies.

use anyhow::{ensure, Context, Result};

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::net::packet::{without_hops, Flags};
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Limit, Target};
use crate::system;
use crate::variant::Module;

const RULE: Limit = limit(LIMIT as u32).target(Target::Drop);
const GENERATIONS: usize = 3;

pub fn register(registry: &mut Registry) {
    each(registry, "reversed/assured", Place::Forward, |site| {
        unseen(site, assure)
    });
    each(registry, "reversed/closed", Place::Forward, |site| {
        unseen(site, close)
    });
    each(registry, "reversed/full", Place::Input, full);
}

type Finish = fn(&Site, &Peer) -> Result<()>;

fn assure(site: &Site, peer: &Peer) -> Result<()> {
    for _ in 0..2 {
        site.send(&without_hops(peer.packet(Flags::ACK)?)?)?;
    }
    check_reversed(site, peer, "ESTABLISHED")
}

fn close(site: &Site, peer: &Peer) -> Result<()> {
    site.send(&without_hops(peer.packet(Flags::ACK)?)?)?;
    site.send(&without_hops(peer.packet(Flags::RST)?)?)?;
    check_reversed(site, peer, "CLOSE")
}

/// Whether it is assured depends on how often the server has sent something.
fn check_reversed(site: &Site, peer: &Peer, state: &str) -> Result<()> {
    let found = site.state(&peer.reversed())?;
    let found = found.with_context(|| format!("conntrack does not have {} reversed", peer.from))?;
    ensure!(found.0 == state, "conntrack has {found:?}, not {state}");
    Ok(())
}

/// The rule sees nothing of it: what reverses them has too few hops left to come as far.
fn unseen(site: &mut Site, finish: Finish) -> Result<()> {
    site.install(RULE)?;
    let mut reversed = Vec::new();
    for _ in 0..GENERATIONS {
        let generation = open_new(site)?;
        for peer in &generation {
            site.send(&without_hops(peer.packet(Flags::RST)?)?)?;
            site.send(&without_hops({ *peer }.syn()?)?)?;
        }
        wait_until_reversed(site, &generation)?;
        for peer in &generation {
            finish(site, peer)?;
        }
        site.settle()?;
        reversed.extend(generation);
    }
    let admitted = open_new(site)?;
    judge(site, reversed, admitted)
}

/// The same by packets that the rule sees. Others have taken the places of those that it believes to be
/// closed, so that it refuses the SYN by which conntrack lets go.
fn full(site: &mut Site) -> Result<()> {
    site.install(RULE)?;
    let reversed = site.admit_new(LIMIT)?;
    let mut admitted = Vec::new();
    for peer in &reversed {
        admitted.push(take_place(site, peer)?);
    }
    for peer in &reversed {
        site.send(&peer.signed(Flags::RST)?)?;
        site.send(&peer.signed(Flags::SYN)?)?;
    }
    wait_until_reversed(site, &reversed)?;
    for peer in &reversed {
        site.send(&peer.packet(Flags::ACK)?)?;
        site.send(&peer.signed(Flags::RST)?)?;
        check_reversed(site, peer, "CLOSE")?;
    }
    judge(site, reversed, admitted)
}

/// Opens as many as are let in, up to the limit. In-tree finds in conntrack what is reversed, and
/// counts it.
fn open_new(site: &mut Site) -> Result<Vec<Peer>> {
    let mut opened = Vec::new();
    for _ in 0..LIMIT {
        let mut peer = site.peer();
        if site.open(&mut peer)? {
            opened.push(peer);
        }
    }
    Ok(opened)
}

/// Has conntrack believe in the end of a connection, and opens another one in its place.
fn take_place(site: &mut Site, of: &Peer) -> Result<Peer> {
    let mut peer = site.peer();
    system::wait_until("there is room for another one", || {
        // What the server sends in between shows that it goes on.
        site.send(&of.signed(Flags::RST)?)?;
        site.settle()?;
        site.open(&mut peer)
    })?;
    Ok(peer)
}

fn judge(site: &mut Site, mut reversed: Vec<Peer>, mut admitted: Vec<Peer>) -> Result<()> {
    ensure!(reversed.len() >= LIMIT, "{} are reversed", reversed.len());
    let taken = site.count_data_taken(&mut reversed)? + site.count_data_taken(&mut admitted)?;
    // In-tree drops one of an assured connection now and then.
    site.observe("more than the limit have data taken", taken > LIMIT)
        .is(false)?;
    let alive = site.count_alive(&admitted)?;
    match site.module {
        Module::Rs => alive.is(admitted.len()),
        // It disturbs some of them at times (`Difference::RefusedDisturbs`).
        Module::InTree => Ok(()),
    }
}

/// The server sends something, which conntrack does not know.
fn wait_until_reversed(site: &mut Site, peers: &[Peer]) -> Result<()> {
    site.server.call()?;
    for peer in peers {
        system::wait_until("conntrack picks it up from the server", || {
            site.hear()?;
            Ok(site.state(&peer.reversed())?.is_some())
        })?;
        ensure!(site.state(peer)?.is_none(), "conntrack has it twice");
    }
    Ok(())
}
