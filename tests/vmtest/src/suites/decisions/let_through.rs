// SPDX-License-Identifier: GPL-2.0

//! Connections over the limit that are let through all the same, by a rule that only counts: once
//! that is known, they count like any other.
//!
//! On loopback it is never known: conntrack has them before the rule sees them.

use anyhow::Result;

use super::each;
use crate::decision::Verdict::{Over, Under};
use crate::difference::Difference::{AdmittedSynOver, RefusedAttemptsCounted};
use crate::lab::Lab;
use crate::registry::Registry;
use crate::rules::limit;
use crate::variant::{Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    let mut wire = |name, scenario| each(registry, name, Path::Wire, Variant::all(), scenario);
    wire("let_through_unconfirmed", unconfirmed);
    wire("let_through_seen_again", seen_again);

    let mut loopback =
        |name, scenario| each(registry, name, Path::Loopback, Variant::all(), scenario);
    loopback("let_through_not_yet_assured", not_yet_assured);
    loopback("let_through_assured", assured);
    loopback("let_through_assured_unseen", assured_unseen);
    for path in [Path::Wire, Path::Loopback] {
        let few = Variant::few();
        each(registry, "admitted_once", path, few, admitted_once);
    }
}

/// It was unconfirmed when it was told that it is over the limit, and conntrack has it now.
fn unconfirmed(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1))?;
    let [a, b, c, d] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.check_tracked(&b, true)?;

    // It counts on after the one that had the slot is gone ...
    lab.close(&a)?;
    lab.open(&c)?.is(Over)?;
    // ... until it ends itself; by then the next one counts in the same way.
    lab.close(&b)?;
    lab.open(&d)?.is(Over)?;
    lab.close(&c)?;
    lab.close(&d)?;
    let [e, f] = lab.flows();
    lab.open(&e)?.is(Under)?;
    lab.open(&f)?.is(Over)
}

/// Neither a retransmission nor later packets make one connection count twice.
fn seen_again(lab: &mut Lab) -> Result<()> {
    lab.install(limit(2))?;
    let [a, b, mut c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Under)?;
    lab.open(&c)?.is(Over)?;
    lab.settle()?;
    lab.again(&c)?.is(Over)?;
    lab.establish(&mut c)?.is(Over)?;
    lab.data(&c)?.is(Over)?;
    lab.close(&a)?;
    // b and c.
    lab.again(&b)?.is(Under)?;
    lab.data(&c)?.is(Under)
}

/// Conntrack has it from the start on loopback, which shows nothing.
fn not_yet_assured(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1))?;
    let [a, b, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.settle()?;
    lab.again(&a)?
        .differs(Under, Over, RefusedAttemptsCounted)?;
    lab.close(&a)?;
    lab.open(&c)?.differs(Under, Over, RefusedAttemptsCounted)
}

/// It has become assured: a reply came and an answer to that. So it would have, had the rule refused
/// that answer.
fn assured(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1))?;
    let [a, mut b, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.establish(&mut b)?.is(Over)?;
    lab.again(&a)?
        .differs(Under, Over, RefusedAttemptsCounted)?;
    lab.close(&a)?;
    // There is room.
    lab.data(&b)?.is(Under)?;
    lab.open(&c)?.is(Over)?;
    lab.close(&b)?;
    lab.again(&c)?.is(Under)
}

/// The same where the rule sees only first packets.
fn assured_unseen(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1).syn())?;
    let [a, mut b, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.establish_unseen(&mut b)?;
    lab.close(&a)?;
    lab.open(&c)?.differs(Under, Over, RefusedAttemptsCounted)?;
    lab.close(&b)?;
    lab.again(&c)?.is(Under)
}

/// A connection that was let in once counts, whatever is said of it later.
fn admitted_once(lab: &mut Lab) -> Result<()> {
    lab.install(limit(1))?;
    let [a, mut b, mut c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.establish(&mut b)?.is(Over)?;
    match (lab.path(), a.tuple.transport) {
        (Path::Loopback, _) => lab
            .again(&a)?
            .differs(Under, Over, RefusedAttemptsCounted)?,
        (Path::Wire, Transport::Tcp) => lab.again(&a)?.differs(Under, Over, AdmittedSynOver)?,
        (Path::Wire, Transport::Udp) => lab.again(&a)?.is(Over)?,
    }
    lab.close(&b)?;
    lab.open(&c)?.is(Over)?;
    lab.close(&a)?;
    lab.establish(&mut c)?.is(Under)
}
