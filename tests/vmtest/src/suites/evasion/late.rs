// SPDX-License-Identifier: GPL-2.0

//! Late packets of clients that do nothing wrong.

use anyhow::{ensure, Result};

use super::each;
use super::site::{Place, Site, LIMIT};
use crate::net::packet::{Flags, Packet};
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::system;

pub fn register(registry: &mut Registry) {
    for (name, target) in [("drop", Target::Drop), ("reject", Target::Reject)] {
        let name = format!("late_ack/{name}");
        each(registry, &name, Place::Forward, move |site| {
            late_ack(site, target)
        });
    }
}

/// The last ACK of a connection gets lost behind the router. Others have filled the key when the server
/// sends its FIN again, and the client answers that.
fn late_ack(site: &mut Site, target: Target) -> Result<()> {
    site.install(limit(LIMIT as u32).target(target))?;
    let mut ended = site.peer();
    site.admit(&mut ended)?;
    site.say(&ended, Flags::FIN_ACK)?;
    ended.next = ended.next.wrapping_add(1);
    site.server.finish(ended.from)?;
    site.hear()?;
    ended.awaited = ended.awaited.wrapping_add(1);
    site.send(&ended.packet(Flags::ACK)?)?;
    site.wire.carry(|packet| !is_of(packet, &ended.from))?;
    site.check_state(&ended, "TIME_WAIT", true)?;
    site.settle()?;
    let admitted = site.admit_new(LIMIT)?;

    system::wait_until("the server sends its FIN again", || {
        let heard = site.hear()?;
        Ok(heard
            .iter()
            .any(|(segment, _)| segment.to == ended.from && segment.flags.fin))
    })?;
    ensure!(site.has_last_ack()?, "the server has it not any more");
    site.say(&ended, Flags::ACK)?;
    ensure!(!site.has_last_ack()?, "the ACK has not arrived");
    site.outcome(&admitted)?.is([LIMIT; 3])
}

fn is_of(packet: &Packet, client: &std::net::SocketAddr) -> bool {
    matches!(packet, Packet::Tcp { segment, .. } if segment.from == *client)
}
