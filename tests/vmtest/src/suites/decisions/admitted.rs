// SPDX-License-Identifier: GPL-2.0

//! Connections that are let in, until they end.

use anyhow::Result;

use super::each;
use crate::decision::Verdict::{Over, Under};
use crate::lab::Lab;
use crate::net::packet::Flags;
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::variant::{Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    // Unconfirmed at INPUT on the wire, confirmed and not assured on loopback.
    for path in [Path::Wire, Path::Loopback] {
        each(registry, "new", path, Variant::all(), new);
        each(
            registry,
            "clients_apart",
            path,
            Variant::few(),
            clients_apart,
        );
        each(registry, "close", path, Variant::all(), close);
        each(registry, "time_wait", path, Variant::tcp(), time_wait);
        let few = Variant::sample(Transport::Tcp);
        each(registry, "half_closed", path, few, half_closed);
    }
    let tcp = Variant::tcp();
    each(registry, "last_packet", Path::Wire, tcp, last_packet);
    each(
        registry,
        "established",
        Path::Wire,
        Variant::all(),
        established,
    );
    each(
        registry,
        "limit_zero",
        Path::Wire,
        Variant::all(),
        limit_zero,
    );
}

/// The limit itself is not over the limit; one more is.
fn new(lab: &mut Lab) -> Result<()> {
    lab.install(limit(2).target(Target::Drop))?;
    let [a, b, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Under)?;
    lab.open(&c)?.is(Over)
}

fn clients_apart(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1).target(Target::Drop))?;
    let [a, b] = lab.flows();
    let other = lab.flow_of(2);
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.open(&other)?.is(Under)
}

/// Each packet of a known connection counts the others, and itself once.
fn established(lab: &mut Lab) -> Result<()> {
    lab.install(limit(2))?;
    let [mut a, mut b] = lab.flows();
    for flow in [&mut a, &mut b] {
        lab.open(flow)?.is(Under)?;
        lab.again(flow)?.is(Under)?;
        lab.establish(flow)?.is(Under)?;
    }
    for _ in 0..3 {
        lab.data(&a)?.is(Under)?;
        lab.data(&b)?.is(Under)?;
    }
    Ok(())
}

fn limit_zero(lab: &mut Lab) -> Result<()> {
    lab.install(limit(0))?;
    let [mut a] = lab.flows();
    lab.open(&a)?.is(Over)?;
    lab.establish(&mut a)?.is(Over)?;
    lab.data(&a)?.is(Over)
}

/// A connection in CLOSE, or that conntrack has dropped, does not count.
fn close(lab: &mut Lab) -> Result<()> {
    lab.install(limit(2).target(Target::Drop))?;
    let [mut a, b, c, d] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.establish(&mut a)?.is(Under)?;
    lab.open(&b)?.is(Under)?;
    lab.close(&a)?;
    match a.tuple.transport {
        Transport::Tcp => lab.check_state(&a, "CLOSE")?,
        Transport::Udp => lab.check_tracked(&a, false)?,
    }
    lab.open(&c)?.is(Under)?;
    lab.open(&d)?.is(Over)
}

fn time_wait(lab: &mut Lab) -> Result<()> {
    lab.install(limit(2).target(Target::Drop))?;
    let [mut a, b, c, d] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.establish(&mut a)?.is(Under)?;
    lab.open(&b)?.is(Under)?;
    lab.shut_down(&mut a)?;
    lab.open(&c)?.is(Under)?;
    lab.open(&d)?.is(Over)
}

/// What has ended a connection that was let in takes nobody's place.
fn last_packet(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1))?;
    let [mut a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.establish(&mut a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.settle()?;
    lab.data(&a)?.is(Over)?;
    lab.settle()?;
    let reset = a.by_client(Flags::RST)?;
    lab.decide("reset", &a, &reset)?.is(Under)?;
    lab.check_state(&a, "CLOSE")
}

/// A connection that only one side has closed is live.
fn half_closed(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1).target(Target::Drop))?;
    let [mut a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.establish(&mut a)?.is(Under)?;
    lab.half_close(&mut a)?;
    lab.settle()?;
    lab.open(&b)?.is(Over)
}
