// SPDX-License-Identifier: GPL-2.0

//! Ports whose last connection conntrack has in TIME_WAIT, opened again through a rule that comes
//! before conntrack.

use anyhow::Result;

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::difference::Difference::OpenedAgainForgotten;
use crate::registry::Registry;
use crate::rules::{limit, Target};

pub fn register(registry: &mut Registry) {
    each(registry, "twbatch", Place::Input, twbatch);
}

fn twbatch(site: &mut Site) -> Result<()> {
    const GENERATIONS: usize = 4;
    const ALL: usize = GENERATIONS * LIMIT;
    site.install_raw(limit(LIMIT as u32).syn().target(Target::Drop))?;
    let mut ended = Vec::new();
    for _ in 1..GENERATIONS {
        let mut generation = site.admit_new(LIMIT)?;
        for peer in &mut generation {
            site.shut_down(peer)?;
            site.check_state(peer, "TIME_WAIT", true)?;
        }
        site.settle()?;
        ended.extend(generation);
    }
    let mut opened = site.admit_new(LIMIT)?;
    for mut peer in ended {
        if site.open(&mut peer)? {
            opened.push(peer);
        }
    }
    let outcome = site.outcome(&opened)?;
    outcome.differs([LIMIT; 3], [ALL; 3], OpenedAgainForgotten)
}
