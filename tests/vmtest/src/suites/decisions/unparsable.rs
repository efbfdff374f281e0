// SPDX-License-Identifier: GPL-2.0

//! Packets that no connection can be read from.

use anyhow::Result;
use etherparse::IpNumber;

use super::each;
use crate::conntrack;
use crate::decision::Verdict::{Dropped, Over, Under};
use crate::lab::Lab;
use crate::net::packet;
use crate::registry::Registry;
use crate::rules::{limit, Limit};
use crate::variant::{Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    let mut wire = |name, scenario| each(registry, name, Path::Wire, Variant::all(), scenario);
    wire("unparsable/above", |lab| truncated(lab, limit(10)));
    wire("unparsable/upto", |lab| truncated(lab, limit(10).upto()));
    wire("known_to_the_table_only", known_to_the_table_only);
}

/// Two bytes of a transport header hold no ports. The packet is dropped, whatever the target and
/// the direction of the rule, and disturbs nothing.
fn truncated(lab: &mut Lab, rule: Limit) -> Result<()> {
    let [a, b] = lab.flows();
    // A match on ports would drop the packet by itself.
    let (selector, protocol) = match a.tuple.transport {
        Transport::Tcp => ("-p tcp", IpNumber::TCP),
        Transport::Udp => ("-p udp", IpNumber::UDP),
    };
    lab.install(rule.of(selector))?;
    lab.open(&a)?.is(Under)?;
    let (client, server) = (a.tuple.source.ip(), a.tuple.destination.ip());
    let stub = packet::raw(client, server, protocol, &[0, 80])?;
    lab.decide("packet cut off", &a, &stub)?.is(Dropped)?;
    lab.again(&a)?.is(Under)?;
    lab.open(&b)?.is(Under)
}

/// A connection that the table knows and conntrack has lost is taken up again, not dropped.
fn known_to_the_table_only(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1))?;
    let [mut a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.establish(&mut a)?.is(Under)?;
    conntrack::delete(&a.tuple)?;
    lab.settle()?;
    lab.data(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)
}
