// SPDX-License-Identifier: GPL-2.0

//! Two CPUs that see new connections of one client at the same time.

use anyhow::{ensure, Result};

use super::add;
use crate::flow::Flow;
use crate::lab::Lab;
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::system;
use crate::variant::{Module, Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    for variant in Variant::sample(Transport::Udp) {
        let mut exclusive = |name, scenario| {
            add(registry, name, Path::Wire, variant, scenario).exclusive();
        };
        exclusive("race/let_through", |lab| race(lab, Target::None));
        exclusive("race/refused", |lab| race(lab, Target::Drop));
    }
}

const LIMIT: u32 = 10;
const EACH: usize = 40;

/// However they interleave, and however long one of them is held up, as many as the limit says are told
/// "under".
fn race(lab: &mut Lab, target: Target) -> Result<()> {
    const ROUNDS: u16 = 20;
    lab.install(limit(LIMIT).target(target))?;
    for client in 0..ROUNDS {
        let flows: Vec<Flow> = (0..2 * EACH).map(|_| lab.flow_of(client)).collect();
        let tun = lab.outside.tun()?;
        let packets = flows.iter().map(Flow::first).collect::<Result<Vec<_>>>()?;
        let before = lab.counters()?;
        system::on_cpus_at_once([0, 1], |turn| {
            let packets = &packets[turn * EACH..][..EACH];
            packets.iter().try_for_each(|packet| tun.send(packet))
        })?;
        let [arrived, over, _] = lab.count_since(before, 2 * EACH as u64)?;
        ensure!(arrived == 2 * EACH as u64, "{arrived} packets arrived");
        let under = arrived - over;
        // In-tree may count an attempt that it has just refused on the other CPU in the place of a
        // connection that there was room for, and after two jiffies it has forgotten what a CPU that is
        // held up is about to confirm.
        let allowed = under == LIMIT.into() || lab.module() == Module::InTree;
        ensure!(allowed, "{under} under a limit of {LIMIT}");
    }
    Ok(())
}
