// SPDX-License-Identifier: GPL-2.0

//! The administrator deletes the entries of connections that were let in (`conntrack -D`), and they go
//! on: conntrack picks them up again.

use anyhow::{ensure, Result};

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::conntrack::{self, Tuple};
use crate::difference::Difference::RefusedDisturbs;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Limit, Target};
use crate::variant::Transport;

const RULE: Limit = limit(LIMIT as u32).target(Target::Drop);

pub fn register(registry: &mut Registry) {
    each(registry, "deleted/goes_on", Place::Input, goes_on);
    each(registry, "deleted/replaced", Place::Input, replaced);
}

fn delete(site: &Site, peer: &Peer) -> Result<()> {
    conntrack::delete(&Tuple {
        transport: Transport::Tcp,
        source: peer.from,
        destination: peer.to,
    })?;
    ensure!(site.state(peer)?.is_none(), "conntrack has it still");
    Ok(())
}

/// Nobody has taken its place when it does.
fn goes_on(site: &mut Site) -> Result<()> {
    site.install(RULE)?;
    let mut admitted = site.admit_new(LIMIT)?;
    for peer in &mut admitted {
        delete(site, peer)?;
        site.settle()?;
        let taken = site.takes_data(peer)?;
        ensure!(taken, "{} does not go on", peer.from);
    }
    let mut more = site.peer();
    let open = site.open(&mut more)?;
    site.observe("one more", open).is(false)?;
    site.outcome(&admitted)?.is([LIMIT; 3])
}

/// Others have taken the places of all when they do.
fn replaced(site: &mut Site) -> Result<()> {
    site.install(RULE)?;
    let mut deleted = site.admit_new(LIMIT)?;
    for peer in &deleted {
        delete(site, peer)?;
    }
    site.settle()?;
    let admitted = site.admit_new(LIMIT)?;
    let taken = site.count_data_taken(&mut deleted)?;
    site.observe("the deleted whose data the server takes", taken)
        .is(0)?;
    let outcome = site.outcome(&admitted)?;
    outcome.differs([LIMIT; 3], [LIMIT, 0, 0], RefusedDisturbs)
}
