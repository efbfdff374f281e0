// SPDX-License-Identifier: GPL-2.0

//! Clients reach the server by many ports, which NAT makes one before the rule.

use std::net::SocketAddr;

use anyhow::Result;

use super::each;
use super::revive::close_half_open;
use super::site::{Place, Site, LIMIT};
use crate::net::address::{self, PORT};
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};
use crate::variant::Path;

const FIRST_PORT: u16 = 8000;
const PORTS: u16 = 20;

pub fn register(registry: &mut Registry) {
    each(registry, "dnat", Place::Input, halfrevive);
}

/// Each is half open, reset, and opened again.
fn halfrevive(site: &mut Site) -> Result<()> {
    let last = FIRST_PORT + PORTS - 1;
    let server = SocketAddr::new(address::server(site.family, Path::Wire), PORT);
    let translate = format!("-p tcp --dport {FIRST_PORT}:{last} -j DNAT --to-destination {server}");
    let rule = limit(LIMIT as u32).target(Target::Drop);
    let rules = Ruleset::default()
        .append("nat", Chain::Prerouting, translate)
        .filter(site.chain(), site.rule(&rule));
    site.iptables.restore(&rules)?;
    let mut opened = Vec::new();
    for port in FIRST_PORT..=last {
        let mut peer = site.peer();
        peer.to.set_port(port);
        if close_half_open(site, &mut peer)? && site.open(&mut peer)? {
            opened.push(peer);
        }
    }
    site.outcome(&opened)?.is([LIMIT; 3])
}
