// SPDX-License-Identifier: GPL-2.0

//! More packets than clean-up keeps up with.

use std::time::Instant;

use anyhow::{ensure, Result};

use super::wire;
use crate::decision::Verdict::{Over, Under};
use crate::flow::Flow;
use crate::lab::Lab;
use crate::net::packet::Flags;
use crate::net::tun::Tun;
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::system;
use crate::variant::{Transport, Variant};

pub fn register(registry: &mut Registry) {
    for variant in Variant::tcp() {
        wire(
            registry,
            "2025_12_many_new_in_one_jiffy",
            variant,
            many_new_in_one_jiffy,
        );
    }
    /// What grows with what it has seen does not end in time.
    const ENOUGH: u64 = 15;
    for variant in Variant::sample(Transport::Tcp) {
        let mut exclusive = |name, scenario| {
            wire(registry, name, variant, scenario)
                .exclusive()
                .timeout(ENOUGH);
        };
        exclusive("2022_05_port_scans_do_not_lock_up", port_scans);
        exclusive("2025_12_refused_flood_does_not_grow", refused_flood);
        exclusive("many_live_connections_are_bounded", many_live);
    }
}

fn first_packets(flows: &[Flow]) -> Result<Vec<Vec<u8>>> {
    flows.iter().map(Flow::first).collect()
}

fn send_all(tun: &Tun, packets: &[Vec<u8>]) -> Result<()> {
    packets.iter().try_for_each(|packet| tun.send(packet))
}

/// Connections that come and go so fast that several hundreds of them are remembered. A jiffy
/// later none of them counts any more.
fn many_new_in_one_jiffy(lab: &mut Lab) -> Result<()> {
    const MANY: usize = 400;
    lab.install(limit(10))?;
    let flows: Vec<Flow> = (0..MANY).map(|_| lab.flow_of(1)).collect();
    let tun = lab.outside.tun()?;
    for flow in &flows {
        tun.send(&flow.first()?)?;
        tun.send(&flow.by_client(Flags::RST)?)?;
    }
    lab.settle()?;
    let [a] = lab.flows();
    lab.open(&a)?.is(Under)
}

/// Two scans of many ports at once, by one client, under a high limit.
fn port_scans(lab: &mut Lab) -> Result<()> {
    const PORTS: u16 = 2000;
    lab.install(limit(20_000).of("-p tcp"))?;
    let scans = [lab.flow_of(1), lab.flow_of(1)].map(|flow| {
        (1000..1000 + PORTS)
            .map(|port| {
                let mut probe = flow.clone();
                probe.tuple.destination.set_port(port);
                probe.first()
            })
            .collect::<Result<Vec<_>>>()
    });
    let tun = lab.outside.tun()?;
    let before = lab.counters()?;
    system::on_cpus_at_once([0, 1], |turn| match &scans[turn] {
        Ok(packets) => send_all(&tun, packets),
        Err(error) => anyhow::bail!("{error:#}"),
    })?;
    let counted = lab.count_since(before, 2 * u64::from(PORTS))?;
    ensure!(
        counted == [2 * u64::from(PORTS), 0, 2 * u64::from(PORTS)],
        "the rules counted {counted:?}"
    );
    let [a] = lab.flows();
    lab.open(&a)?.is(Under)
}

/// Attempts that are refused leave nothing behind that the next one would have to walk.
fn refused_flood(lab: &mut Lab) -> Result<()> {
    const PART: usize = 500;
    const PARTS: usize = 6;
    /// An emulated CPU is at times held up by its host.
    const NOISE: u32 = 10;
    lab.install(limit(1).target(Target::Drop))?;
    let [mut a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.establish(&mut a)?.is(Under)?;
    let tun = lab.outside.tun()?;
    let mut took = Vec::new();
    for _ in 0..PARTS {
        let flows: Vec<Flow> = (0..PART).map(|_| lab.flow_of(1)).collect();
        let packets = first_packets(&flows)?;
        let before = lab.counters()?;
        let start = Instant::now();
        send_all(&tun, &packets)?;
        took.push(start.elapsed());
        let counted = lab.count_since(before, PART as u64)?;
        ensure!(counted == [PART as u64, PART as u64, 0], "{counted:?}");
    }
    ensure!(
        took[PARTS - 1] < NOISE * took[0],
        "{PART} packets took {took:?}"
    );
    lab.settle()?;
    lab.data(&a)?.is(Under)?;
    lab.close(&a)?;
    lab.open(&b)?.is(Under)
}

/// A key that has many live ones takes no time without bound.
fn many_live(lab: &mut Lab) -> Result<()> {
    const LIVE: usize = 1500;
    lab.install(limit(LIVE as u32).syn())?;
    let flows: Vec<Flow> = (0..LIVE).map(|_| lab.flow_of(1)).collect();
    let packets = first_packets(&flows)?;
    let tun = lab.outside.tun()?;
    let before = lab.counters()?;
    send_all(&tun, &packets)?;
    let counted = lab.count_since(before, LIVE as u64)?;
    ensure!(counted == [LIVE as u64, 0, LIVE as u64], "{counted:?}");
    let [one_more] = lab.flows();
    lab.open(&one_more)?.is(Over)
}
