// SPDX-License-Identifier: GPL-2.0

//! Protocols other than TCP and UDP: what conntrack takes for one connection counts as one.

use anyhow::Result;
use etherparse::IpNumber;

use super::each;
use crate::conntrack;
use crate::decision::Verdict::{Over, Under};
use crate::difference::Difference;
use crate::lab::Lab;
use crate::net::address;
use crate::net::packet;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};
use crate::variant::{Family, Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    // The transport of the variant plays no part.
    let variants = || Variant::all().filter(|variant| variant.transport == Transport::Udp);
    each(registry, "protocol/icmp", Path::Wire, variants(), icmp);
    each(
        registry,
        "protocol/icmp_error",
        Path::Wire,
        variants(),
        icmp_error,
    );
    each(registry, "protocol/sctp", Path::Wire, variants(), sctp);
    each(
        registry,
        "protocol/unknown",
        Path::Wire,
        variants(),
        unknown,
    );
    each(registry, "untracked", Path::Wire, Variant::few(), untracked);
}

/// Echo requests with the same identifier are one connection.
fn icmp(lab: &mut Lab) -> Result<()> {
    let [flow] = lab.flows();
    let (client, server) = (flow.tuple.source.ip(), flow.tuple.destination.ip());
    lab.install(
        limit(1)
            .of(match flow.tuple.family() {
                Family::Ipv4 => "-p icmp",
                Family::Ipv6 => "-p icmpv6 --icmpv6-type echo-request",
            })
            .target(Target::Drop),
    )?;
    let first = packet::echo_request(client, server, 1)?;
    let second = packet::echo_request(client, server, 2)?;
    let other = packet::echo_request(lab.flow_of(2).tuple.source.ip(), server, 1)?;
    lab.decide("echo request", &flow, &first)?.is(Under)?;
    lab.decide("the same", &flow, &first)?.is(Under)?;
    lab.decide("another identifier", &flow, &second)?.is(Over)?;
    lab.decide("another client", &flow, &other)?.is(Under)
}

/// An ICMP error is about a connection, and nobody has one more for it.
fn icmp_error(lab: &mut Lab) -> Result<()> {
    let [mut a, b] = lab.flows();
    let (client, server) = (a.tuple.source.ip(), a.tuple.destination.ip());
    let router = lab.flow_of(2);
    lab.install(limit(1).of("-i tun0").target(Target::Drop))?;
    lab.open(&a)?.is(Under)?;
    lab.answer(&mut a)?;
    let from_client = packet::unreachable(client, server, &a.answer()?)?;
    lab.decide("about an answer", &a, &from_client)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.settle()?;
    lab.decide("about an answer", &a, &from_client)?.differs(
        Under,
        Over,
        Difference::RefusedAttemptsCounted,
    )?;

    let from_router = packet::unreachable(router.tuple.source.ip(), server, &a.answer()?)?;
    lab.decide("from a router", &router, &from_router)?
        .is(Under)?;
    lab.open(&router)?
        .differs(Under, Over, Difference::ErrorsCounted)?;
    conntrack::delete(&a.tuple)?;
    lab.settle()?;
    lab.again(&router)?.is(Under)?;
    lab.decide("about none", &b, &from_client)?.is(Under)
}

fn sctp(lab: &mut Lab) -> Result<()> {
    let [a, b] = lab.flows();
    let other = lab.flow_of(2);
    lab.install(limit(1).of("-p sctp").target(Target::Drop))?;
    let init =
        |flow: &crate::flow::Flow| packet::sctp_init(flow.tuple.source, flow.tuple.destination);
    lab.decide("INIT", &a, &init(&a)?)?.is(Under)?;
    lab.decide("the same INIT", &a, &init(&a)?)?.is(Under)?;
    lab.decide("another INIT", &b, &init(&b)?)?.is(Over)?;
    lab.decide("INIT", &other, &init(&other)?)?.is(Under)
}

/// A protocol without ports: a pair of addresses is a connection.
fn unknown(lab: &mut Lab) -> Result<()> {
    const EXPERIMENTAL: IpNumber = IpNumber::EXPERIMENTAL_AND_TESTING_0;
    let [flow] = lab.flows();
    let (client, server) = (flow.tuple.source.ip(), flow.tuple.destination.ip());
    lab.install(limit(1).of("-p 253").target(Target::Drop))?;
    let elsewhere = address::flip_bit(server, 31);
    let packet = packet::raw(client, server, EXPERIMENTAL, b"payload")?;
    let another = packet::raw(client, elsewhere, EXPERIMENTAL, b"payload")?;
    lab.decide("first packet", &flow, &packet)?.is(Under)?;
    lab.decide("next packet", &flow, &packet)?.is(Under)?;
    lab.decide("to another server", &flow, &another)?.is(Over)
}

/// What is kept from conntrack is no connection of it.
fn untracked(lab: &mut Lab) -> Result<()> {
    let [a, b] = lab.flows();
    let notrack = || {
        let everything = "-j CT --notrack";
        Ruleset::default().append("raw", Chain::Prerouting, everything)
    };
    lab.install_with(limit(1), notrack())?;
    lab.open(&a)?.is(Under)?;
    lab.check_tracked(&a, false)?;
    lab.settle()?;
    lab.open(&b)?.is(Under)?;
    lab.settle()?;
    lab.again(&a)?.is(Under)?;
    lab.install_with(limit(0), notrack())?;
    lab.open(&a)?
        .differs(Under, Over, Difference::UntrackedCounted)
}
