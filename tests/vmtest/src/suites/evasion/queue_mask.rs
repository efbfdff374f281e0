// SPDX-License-Identifier: GPL-2.0

//! A program behind the rule holds first packets of a stranger in the same mask as a victim: more than
//! the rule remembers.

use anyhow::{bail, Result};

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::net::address::PORT;
use crate::net::nfqueue::Queue;
use crate::net::packet::Flags;
use crate::net::peer::Peer;
use crate::registry::Registry;
use crate::rules::{limit, Ruleset, Target};
use crate::variant::Family;

const VICTIM: u16 = 1;
const STRANGER: u16 = 2;
const OF_VICTIM: usize = 3;
/// With these, the rule remembers as many as it ever does of those that are presumed lost.
const HELD: usize = 36;
/// These make it forget one more.
const MORE: usize = 4;

pub fn register(registry: &mut Registry) {
    each(registry, "nfqueue/mask", Place::Input, mask);
}

/// A SYN that is held is sent again once the rule has forgotten the first and is full. Then the first
/// arrives, which is to show nothing.
fn mask(site: &mut Site) -> Result<()> {
    let length = match site.family {
        Family::Ipv4 => 8,
        Family::Ipv6 => 32,
    };
    let rule = limit(LIMIT as u32).mask(length).target(Target::Drop);
    let queue = format!("-p tcp --dport {PORT} --syn -j NFQUEUE --queue-num 0");
    let rules = Ruleset::default()
        .filter(site.chain(), site.rule(&rule))
        .filter(site.chain(), queue);
    site.iptables.restore(&rules)?;
    site.queue = Some(Queue::bind(0)?);

    let mut victims = begin(site, VICTIM, OF_VICTIM)?;
    site.release()?;
    let heard = site.hear()?;
    for peer in &mut victims {
        if heard.iter().any(|(segment, _)| peer.takes_answer(segment)) {
            site.say(peer, Flags::ACK)?;
        }
    }
    let open = site.server.open()?.len();
    site.observe("the victim's that are open", open)
        .is(OF_VICTIM)?;

    begin(site, STRANGER, HELD)?;
    let forgotten = begin(site, STRANGER, 1)?;
    begin(site, STRANGER, MORE)?;
    let Some(queue) = &mut site.queue else {
        bail!("there is no queue");
    };
    queue.held()?;
    queue.release_first(HELD)?;
    site.hear()?;
    site.settle()?;
    for peer in &forgotten {
        site.send(&peer.syn_again()?)?;
    }
    site.release()?;
    for peer in &forgotten {
        site.check_state(peer, "SYN_RECV", false)?;
    }
    site.hear()?;

    let taken = site.count_data_taken(&mut victims)?;
    site.observe("the victim's whose data the server takes", taken)
        .is(OF_VICTIM)?;
    site.count_alive(&victims)?.is(OF_VICTIM)
}

/// Sends so many first packets, one soon after the other.
fn begin(site: &mut Site, client: u16, count: usize) -> Result<Vec<Peer>> {
    (0..count)
        .map(|_| {
            let mut peer = site.peer_of(client);
            site.send(&peer.syn()?)?;
            site.settle()?;
            Ok(peer)
        })
        .collect()
}
