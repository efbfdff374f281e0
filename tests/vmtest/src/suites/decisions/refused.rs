// SPDX-License-Identifier: GPL-2.0

//! Connections that the rule's target refuses: they never disturb one that is let in, nor one
//! that could be.

use anyhow::{ensure, Result};

use super::each;
use crate::decision::Verdict::{Over, Under};
use crate::difference::Difference::RefusedAttemptsCounted;
use crate::flow::Flow;
use crate::lab::{Lab, Reply};
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::variant::{Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    let mut wire = |name, scenario| each(registry, name, Path::Wire, Variant::all(), scenario);
    wire("refused_forgotten/drop", |lab| forgotten(lab, Target::Drop));
    wire("refused_forgotten/reject", |lab| {
        forgotten(lab, Target::Reject)
    });
    wire("refused_retries", retries);
    wire("refused_then_under", forgotten_then_under);
    wire("refused_keeps_established/drop", |lab| {
        keeps_established(lab, Target::Drop)
    });
    wire("refused_keeps_established/reject", |lab| {
        keeps_established(lab, Target::Reject)
    });

    each(
        registry,
        "refused_closed",
        Path::Loopback,
        Variant::tcp(),
        closed,
    );
    let mut loopback =
        |name, scenario| each(registry, name, Path::Loopback, Variant::all(), scenario);
    loopback("refused_kept", kept);
    loopback("refused_then_under", kept_then_under);
}

/// What the client sees of a refusal.
fn refusal(target: Target, transport: Transport) -> Reply {
    match (target, transport) {
        (Target::Reject, Transport::Tcp) => Reply::Reset,
        (Target::Reject, Transport::Udp) => Reply::Unreachable,
        (Target::Drop | Target::None, _) => Reply::Nothing,
    }
}

/// Refused before it was confirmed, so conntrack does not know it.
fn forgotten(lab: &mut Lab, target: Target) -> Result<()> {
    lab.install(limit(1).target(target))?;
    let [a, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    let transport = a.tuple.transport;
    if transport == Transport::Tcp {
        ensure!(lab.outside.reply(&a)? == Reply::Accepted);
    }
    for b in lab.flows::<3>() {
        lab.open(&b)?.is(Over)?;
        let reply = lab.outside.reply(&b)?;
        ensure!(
            reply == refusal(target, transport),
            "the client sees {reply:?}"
        );
        lab.check_tracked(&b, false)?;
        lab.settle()?;
    }
    lab.again(&a)?
        .differs(Under, Over, RefusedAttemptsCounted)?;
    lab.close(&a)?;
    lab.open(&c)?.is(Under)
}

/// The same connection asks again and again; when there is room, it is let in and counts.
fn retries(lab: &mut Lab) -> Result<()> {
    lab.install(limit(2).target(Target::Drop))?;
    let [a, b, c, d] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Under)?;
    lab.open(&c)?.is(Over)?;
    for _ in 0..3 {
        lab.settle()?;
        lab.again(&c)?.is(Over)?;
    }
    lab.close(&b)?;
    lab.again(&c)?.is(Under)?;
    lab.open(&d)?.is(Over)
}

fn forgotten_then_under(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1).target(Target::Drop))?;
    then_under(lab)
}

/// The rule sees packets of established connections too, and must not refuse them.
fn keeps_established(lab: &mut Lab, target: Target) -> Result<()> {
    lab.install(limit(2).target(target))?;
    let [mut a, mut b] = lab.flows();
    for flow in [&mut a, &mut b] {
        lab.open(flow)?.is(Under)?;
        lab.establish(flow)?.is(Under)?;
    }
    for refused in lab.flows::<3>() {
        lab.open(&refused)?.is(Over)?;
        lab.settle()?;
        lab.data(&a)?.is(Under)?;
        lab.data(&b)?.is(Under)?;
    }
    Ok(())
}

/// On loopback, the reset that REJECT sends moves the refused connection to CLOSE.
fn closed(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1).target(Target::Reject))?;
    let [a, b, c, d] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.check_state(&b, "CLOSE")?;
    lab.settle()?;
    lab.again(&a)?
        .differs(Under, Over, RefusedAttemptsCounted)?;
    lab.close(&a)?;
    lab.open(&c)?.is(Under)?;
    lab.open(&d)?.is(Over)
}

/// On loopback, what DROP refuses stays in conntrack: SYN_SENT for two minutes.
fn kept(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1).target(Target::Drop))?;
    let [a, b, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.check_tracked(&b, true)?;
    if b.tuple.transport == Transport::Tcp {
        lab.check_state(&b, "SYN_SENT")?;
    }
    lab.settle()?;
    lab.again(&a)?
        .differs(Under, Over, RefusedAttemptsCounted)?;
    lab.close(&a)?;
    lab.open(&c)?.differs(Under, Over, RefusedAttemptsCounted)
}

fn kept_then_under(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1).target(Target::Drop))?;
    then_under(lab)
}

/// A refused connection that tries once more when there is room has had its last answer changed.
fn then_under(lab: &mut Lab) -> Result<()> {
    let [mut a, mut b, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.establish(&mut a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.close(&a)?;
    lab.again(&b)?.is(Under)?;
    lab.settle()?;
    lab.open(&c)?.is(Over)?;
    establish_beside_refused(lab, &mut b)?;
    lab.close(&b)?;
    lab.again(&c)?.is(Under)
}

/// On loopback, where a refused connection stays in conntrack, in-tree counts it.
fn establish_beside_refused(lab: &mut Lab, flow: &mut Flow) -> Result<()> {
    lab.settle()?;
    match lab.path() {
        Path::Wire => lab.establish(flow)?.is(Under),
        Path::Loopback => lab
            .establish(flow)?
            .differs(Under, Over, RefusedAttemptsCounted),
    }
}
