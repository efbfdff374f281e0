// SPDX-License-Identifier: GPL-2.0

//! A client has conntrack believe in a reset after each of its packets, and the server does not.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::difference::Difference::{AssuredDropped, EndNotBelieved};
use crate::net::packet::Flags;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Target};

const ALL: usize = 4 * LIMIT;
const ROUNDS: usize = 3;
/// One that goes on after a reset counts for two seconds.
const LONGER_THAN_IT_COUNTS: Duration = Duration::from_millis(2500);

pub fn register(registry: &mut Registry) {
    each(registry, "reset_each", Place::Input, reset_each);
}

fn reset_each(site: &mut Site) -> Result<()> {
    site.install(limit(LIMIT as u32).target(Target::Drop))?;
    let mut reset = Vec::new();
    for _ in 0..ALL {
        let mut peer = site.peer();
        site.admit(&mut peer)?;
        reset_for_conntrack(site, &peer)?;
        site.check_state(&peer, "CLOSE", true)?;
        reset.push(peer);
    }
    site.settle()?;
    let mut rounds = [0; ROUNDS];
    for taken in &mut rounds {
        for peer in &mut reset {
            *taken += usize::from(site.takes_data(peer)?);
            reset_for_conntrack(site, peer)?;
        }
    }
    site.observe("those whose data the server takes, in each round", rounds)
        .differs([LIMIT; ROUNDS], [0; ROUNDS], AssuredDropped)?;

    // Others take their places, with which in-tree does not drop the data of these any more.
    thread::sleep(LONGER_THAN_IT_COUNTS);
    let admitted = site.admit_new(LIMIT)?;
    let taken = site.count_data_taken(&mut reset)?;
    site.observe("those whose data the server takes at last", taken)
        .differs(0, ALL, EndNotBelieved)?;
    site.count_alive(&admitted)?.is(LIMIT)
}

fn reset_for_conntrack(site: &Site, peer: &Peer) -> Result<()> {
    site.send(&peer.signed(Flags::RST)?)
}
