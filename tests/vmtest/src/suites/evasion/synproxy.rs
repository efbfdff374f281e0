// SPDX-License-Identifier: GPL-2.0

//! Clients behind SYNPROXY: their SYNs are untracked, and their last ACK is the first that conntrack
//! hears of.

use anyhow::Result;

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::net::address::PORT;
use crate::net::link;
use crate::net::packet::Flags;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};

pub fn register(registry: &mut Registry) {
    each(registry, "synproxy", Place::Input, synproxy);
}

fn synproxy(site: &mut Site) -> Result<()> {
    let http = format!("-p tcp --dport {PORT}");
    link::sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
    let rule = limit(LIMIT as u32).target(Target::Drop);
    let rules = Ruleset::default()
        .append(
            "raw",
            Chain::Prerouting,
            format!("{http} --syn -j CT --notrack"),
        )
        .filter(site.chain(), site.rule(&rule))
        .filter(
            site.chain(),
            format!(
                "{http} -m conntrack --ctstate INVALID,UNTRACKED \
                 -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460"
            ),
        )
        .filter(site.chain(), "-m conntrack --ctstate INVALID -j DROP");
    site.iptables.restore(&rules)?;
    let mut opened = Vec::new();
    for _ in 0..2 * LIMIT {
        let mut peer = site.peer();
        if site.begin(&mut peer)? {
            site.settle()?;
            site.say(&peer, Flags::ACK)?;
        }
        site.settle()?;
        if site.server.open()?.contains(&peer.from) {
            opened.push(peer);
        }
    }
    site.outcome(&opened)?.is([LIMIT; 3])
}
