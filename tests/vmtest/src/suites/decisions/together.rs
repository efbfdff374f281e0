// SPDX-License-Identifier: GPL-2.0

//! Packets that a device has received together: they go through PREROUTING together, before the first
//! one goes any further.

use anyhow::{ensure, Result};

use super::each;
use crate::flow::Flow;
use crate::lab::Lab;
use crate::net::tun::Tun;
use crate::net::{link, route};
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};
use crate::variant::{Module, Path, Variant};

const DEVICE: &str = "tun1";
const LIMIT: u64 = 2;
/// As many as the kernel takes together.
const PACKETS: usize = 8;

pub fn register(registry: &mut Registry) {
    each(
        registry,
        "received_together",
        Path::Wire,
        Variant::few(),
        received_together,
    );
}

fn received_together(lab: &mut Lab) -> Result<()> {
    let device = Tun::with_napi(DEVICE)?;
    route::set_up(DEVICE)?;
    link::receive_in_a_thread(DEVICE)?;
    let rule = limit(LIMIT as u32).target(Target::Drop);
    lab.install_at("mangle", Chain::Prerouting, rule, Ruleset::default())?;
    let attempt = |lab: &mut Lab, client| {
        let flows: [Flow; PACKETS] = std::array::from_fn(|_| lab.flow_of(client));
        let packets = flows.iter().map(Flow::first).collect::<Result<Vec<_>>>()?;
        let before = lab.counters()?;
        packets.iter().try_for_each(|packet| device.send(packet))?;
        let [came, refused, went_on] = lab.count_since(before, PACKETS as u64)?;
        ensure!(came == refused + went_on, "the match has dropped a packet");
        ensure!(went_on >= LIMIT, "of the limit only {went_on} go on");
        Ok(Some(went_on == LIMIT))
    };
    let exactly = lab.repeat("as many as the limit go on", 2..=100, attempt)?;
    match lab.module() {
        Module::Rs => exactly.is(true),
        // It forgets them, too, if it walks its list meanwhile, which it does once a jiffy.
        Module::InTree => Ok(()),
    }
}
