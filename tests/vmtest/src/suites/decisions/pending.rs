// SPDX-License-Identifier: GPL-2.0

//! Connections that are not confirmed yet when they are added, and whose fate is unknown. A rule
//! behind the limit drops all that it lets go on, so that none ever is confirmed.

use std::ops::RangeInclusive;

use anyhow::Result;

use super::{add, each};
use crate::decision::Series;
use crate::decision::Verdict::Under;
use crate::difference::Difference::StaleWithinJiffy;
use crate::lab::Lab;
use crate::registry::Registry;
use crate::rules::limit;
use crate::system;
use crate::variant::{Path, Variant};

pub fn register(registry: &mut Registry) {
    let mut wire = |name, scenario| each(registry, name, Path::Wire, Variant::all(), scenario);
    wire("pending/dropped_later", dropped_later);
    wire(
        "pending/forgotten_on_the_same_cpu",
        forgotten_on_the_same_cpu,
    );
    wire("pending/forgotten_on_another_cpu", forgotten_on_another_cpu);
    for variant in Variant::few() {
        let name = "pending/counts_on_another_cpu";
        // Both CPUs must be free at the same time.
        add(registry, name, Path::Wire, variant, counts_on_another_cpu).exclusive();
    }
}

fn install(lab: &mut Lab) -> Result<()> {
    lab.install_before(limit(1), "-j DROP")
}

fn dropped_later(lab: &mut Lab) -> Result<()> {
    install(lab)?;
    for flow in lab.flows::<4>() {
        lab.open(&flow)?.is(Under)?;
        lab.check_tracked(&flow, false)?;
        lab.settle()?;
    }
    Ok(())
}

/// How many of two new connections, one right after the other, are over a limit of 1. Each is
/// sent from the CPU given. Each attempt is a client of its own, so that nothing of an earlier one
/// is under its key.
pub fn over_of_two_in_one_jiffy(
    lab: &mut Lab,
    cpus: [usize; 2],
    clients: RangeInclusive<u16>,
) -> Result<Series<u64>> {
    lab.repeat("over the limit", clients, |lab, client| {
        let [first, second] = [lab.flow_of(client).first()?, lab.flow_of(client).first()?];
        lab.matched_in_one_jiffy(cpus, [&first, &second])
    })
}

/// A look-up on the CPU that added it shows at once that it is gone.
fn forgotten_on_the_same_cpu(lab: &mut Lab) -> Result<()> {
    install(lab)?;
    over_of_two_in_one_jiffy(lab, [0, 0], 1..=2000)?.may_differ(0, 1, StaleWithinJiffy)
}

/// After a grace period, so does a look-up anywhere.
fn forgotten_on_another_cpu(lab: &mut Lab) -> Result<()> {
    install(lab)?;
    let [a, b] = lab.flows();
    system::pin_to_cpu(0)?;
    lab.open(&a)?.is(Under)?;
    system::pin_to_cpu(1)?;
    lab.settle()?;
    lab.open(&b)?.is(Under)
}

/// Until then it counts there: it may be just about to be confirmed.
fn counts_on_another_cpu(lab: &mut Lab) -> Result<()> {
    install(lab)?;
    over_of_two_in_one_jiffy(lab, [0, 1], 2..=2000)?.is(1)?;
    lab.settle()?;
    let [c, d] = lab.flows();
    lab.open(&c)?.is(Under)?;
    lab.settle()?;
    lab.open(&d)?.is(Under)
}
