// SPDX-License-Identifier: GPL-2.0

//! Two CPUs that see new connections of one client at the same time.

use std::time::Instant;

use anyhow::{bail, ensure, Result};

use super::add;
use crate::flow::Flow;
use crate::lab::Lab;
use crate::net::tun::Tun;
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

/// However they interleave, as many as the limit says are told "under".
fn race(lab: &mut Lab, target: Target) -> Result<()> {
    const ROUNDS: usize = 5;
    const ATTEMPTS: u16 = 50;
    lab.install(limit(LIMIT).target(target))?;
    let mut conclusive = 0;
    for client in 0..ATTEMPTS {
        let flows: Vec<Flow> = (0..2 * EACH).map(|_| lab.flow_of(client)).collect();
        let tun = lab.outside.tun()?;
        let packets = flows.iter().map(Flow::first).collect::<Result<Vec<_>>>()?;
        let before = lab.counters()?;
        let prompt = system::on_cpus_at_once([0, 1], |turn| {
            send_all(&tun, &packets[turn * EACH..][..EACH])
        })?;
        let [arrived, over, _] = lab.count_since(before, 2 * EACH as u64)?;
        ensure!(arrived == 2 * EACH as u64, "{arrived} packets arrived");
        if prompt == [true, true] {
            let under = arrived - over;
            // In-tree may count an attempt that it has just refused on the other CPU in the place of
            // a connection that there was room for.
            let allowed = match lab.module() {
                Module::Rs => under == LIMIT.into(),
                Module::InTree => under <= LIMIT.into(),
            };
            ensure!(allowed, "{under} under a limit of {LIMIT}");
            conclusive += 1;
        }
        if conclusive == ROUNDS {
            return Ok(());
        }
    }
    bail!("only {conclusive} of {ATTEMPTS} rounds went without a CPU being held up")
}

/// Whether no packet took so long that what it added may have been forgotten before it was
/// confirmed, as an emulated CPU that is held up by its host makes it.
fn send_all(tun: &Tun, packets: &[Vec<u8>]) -> Result<bool> {
    let jiffy = system::jiffy()?;
    let mut prompt = true;
    for packet in packets {
        let start = Instant::now();
        tun.send(packet)?;
        prompt &= start.elapsed() < jiffy;
    }
    Ok(prompt)
}
