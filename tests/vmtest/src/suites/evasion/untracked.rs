// SPDX-License-Identifier: GPL-2.0

//! Packets that conntrack is told to leave alone.

use anyhow::Result;

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::difference::Difference::UntrackedCounted;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};

pub fn register(registry: &mut Registry) {
    each(registry, "untracked", Place::Input, untracked);
}

/// They count for nobody, and are let in where no more than the limit are counted.
fn untracked(site: &mut Site) -> Result<()> {
    const UNTRACKED: usize = 2 * LIMIT;
    let rule = limit(LIMIT as u32).target(Target::Drop);
    let rules = Ruleset::default()
        .append(
            "raw",
            Chain::Prerouting,
            "-p tcp --sport 30000:40000 -j CT --notrack",
        )
        .append(
            "raw",
            Chain::Output,
            "-p tcp --dport 30000:40000 -j CT --notrack",
        )
        .filter(site.chain(), site.rule(&rule));
    site.iptables.restore(&rules)?;
    let tracked = site.admit_new(LIMIT)?;
    let mut untracked = Vec::new();
    for port in (30_000..).take(UNTRACKED) {
        let mut peer = site.peer();
        peer.from.set_port(port);
        if site.open(&mut peer)? {
            untracked.push(peer);
        }
    }
    site.settle()?;
    let alive = site.alive()?;
    let answer = |peers: &[Peer]| peers.iter().filter(|p| alive.contains(&p.from)).count();
    site.observe("tracked ones that answer", answer(&tracked))
        .is(LIMIT)?;
    site.observe("untracked ones that answer", answer(&untracked))
        .differs(UNTRACKED, 0, UntrackedCounted)
}
