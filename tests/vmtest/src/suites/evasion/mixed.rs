// SPDX-License-Identifier: GPL-2.0

//! Conntrack is told of an end that the server does not believe, and the connection goes on.

use anyhow::Result;

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::difference::Difference::EndNotBelieved;
use crate::net::packet::Flags;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Limit, Target};

/// Within the server's window, and further than anything that is sent here.
const AHEAD: u32 = 20_000;
/// Far out of it.
const ANYWHERE: u32 = 0x4000_0000;

const RULE: Limit = limit(LIMIT as u32).target(Target::Drop);

type End = fn(&Site, &Peer) -> Result<()>;

pub fn register(registry: &mut Registry) {
    // A packet without data that comes in TIME_WAIT may be the last ACK of an honest client: for two
    // seconds there is one more.
    let ways: [(&str, End, usize); 3] = [
        ("signed_rst", signed_rst, LIMIT),
        ("fin_ahead_and_rst", fin_ahead_and_rst, LIMIT),
        ("fin_ahead_twice", fin_ahead_twice, LIMIT + 1),
    ];
    for (name, end, most) in ways {
        each(
            registry,
            &format!("mixed/{name}"),
            Place::Input,
            move |site| go_on(site, end, most),
        );
        each(
            registry,
            &format!("mixed_in_turn/{name}"),
            Place::Input,
            move |site| go_on_in_turn(site, end),
        );
    }
    each(registry, "mixed_unseen", Place::Input, unseen);
}

/// The server takes a segment with a signature that it does not expect for none.
fn signed_rst(site: &Site, peer: &Peer) -> Result<()> {
    site.send(&peer.signed(Flags::RST)?)?;
    site.check_state(peer, "CLOSE", true)
}

/// The server keeps the FIN until it has what comes before, and a RST has to be in its window.
fn fin_ahead_and_rst(site: &Site, peer: &Peer) -> Result<()> {
    site.send(&peer.ahead(AHEAD, Flags::FIN_ACK)?)?;
    site.send(&peer.ahead(ANYWHERE, Flags::RST)?)?;
    site.check_state(peer, "CLOSE", true)
}

fn fin_ahead_twice(site: &Site, peer: &Peer) -> Result<()> {
    for _ in 0..2 {
        site.send(&peer.ahead(AHEAD, Flags::FIN_ACK)?)?;
    }
    site.say(peer, Flags::ACK)?;
    site.check_state(peer, "TIME_WAIT", true)
}

const GENERATIONS: usize = 3;
const ENDED: usize = GENERATIONS * LIMIT;

/// Opens as many as are let in, has them end as conntrack sees it, and does so again.
fn ended_generations(site: &mut Site, end: End) -> Result<Vec<Peer>> {
    let mut ended = Vec::new();
    for _ in 0..GENERATIONS {
        let generation = site.admit_new(LIMIT)?;
        for peer in &generation {
            end(site, peer)?;
        }
        site.hear()?;
        site.settle()?;
        ended.extend(generation);
    }
    Ok(ended)
}

fn go_on(site: &mut Site, end: End, most: usize) -> Result<()> {
    site.install(RULE)?;
    ended_generations(site, end)?;
    let admitted = site.admit_new(LIMIT)?;
    let outcome = site.outcome(&admitted)?;
    outcome.differs(
        [LIMIT, LIMIT, most],
        [LIMIT, LIMIT, LIMIT + ENDED],
        EndNotBelieved,
    )
}

/// Each sends data while conntrack has all the others as ended.
fn go_on_in_turn(site: &mut Site, end: End) -> Result<()> {
    site.install(RULE)?;
    let mut ended = ended_generations(site, end)?;
    let admitted = site.admit_new(LIMIT)?;
    let mut taken = 0;
    for peer in &mut ended {
        taken += usize::from(site.takes_data(peer)?);
        site.send(&peer.signed(Flags::RST)?)?;
        site.settle()?;
    }
    site.observe("those whose data the server takes", taken)
        .differs(0, ENDED, EndNotBelieved)?;
    site.count_alive(&admitted)?.is(LIMIT)
}

/// A rule with `--syn` does not see them go on. No rule can count what it does not see.
fn unseen(site: &mut Site) -> Result<()> {
    site.install(RULE.syn())?;
    ended_generations(site, signed_rst)?;
    let admitted = site.admit_new(LIMIT)?;
    let outcome = site.outcome(&admitted)?;
    outcome.is([LIMIT, LIMIT, LIMIT + ENDED])
}
