// SPDX-License-Identifier: GPL-2.0

//! Connections older than the rule: assured, and never seen by it.

use anyhow::Result;

use super::each;
use crate::decision::Verdict::{Dropped, Over, Under};
use crate::difference::Difference::{
    AssuredDropped, OlderConnectionAdded, OneAtLeast, RefusedAttemptsCounted,
};
use crate::flow::Flow;
use crate::lab::Lab;
use crate::registry::Registry;
use crate::rules::{limit, Limit, Target};
use crate::variant::{Path, Variant};

type Scenario = fn(&mut Lab) -> Result<()>;

pub fn register(registry: &mut Registry) {
    let scenarios: [(&str, Scenario); 5] = [
        ("older/limit_zero", limit_zero),
        ("older/limit_one", limit_one),
        ("older/limit_two", limit_two),
        ("older/alone", alone),
        ("older/others_closed", others_closed),
    ];
    for (name, scenario) in scenarios {
        each(registry, name, Path::Wire, Variant::all(), scenario);
        each(registry, name, Path::Loopback, Variant::few(), scenario);
    }
    let few = Variant::few();
    each(registry, "older/not_assured", Path::Wire, few, not_assured);
}

/// An assured connection, and then the rule.
fn older(lab: &mut Lab, rule: Limit) -> Result<Flow> {
    lab.track()?;
    let [mut old] = lab.flows();
    lab.outside.send(&old.first()?, &old)?;
    lab.establish_unseen(&mut old)?;
    lab.install(rule)?;
    Ok(old)
}

/// Nothing new gets in, and what is older goes on, as long as the rule's target refuses.
fn limit_zero(lab: &mut Lab) -> Result<()> {
    let old = older(lab, limit(0))?;
    let [a] = lab.flows();
    lab.data(&old)?.differs(Under, Over, OneAtLeast)?;
    lab.open(&a)?.is(Over)?;
    beyond_the_limit(lab, &old)
}

fn limit_one(lab: &mut Lab) -> Result<()> {
    let old = older(lab, limit(1))?;
    let [a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.data(&old)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    beyond_the_limit(lab, &old)
}

fn limit_two(lab: &mut Lab) -> Result<()> {
    let old = older(lab, limit(2))?;
    let [a, b, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.data(&old)?.is(Under)?;
    lab.open(&b)?.is(Under)?;
    lab.data(&old)?.is(Under)?;
    lab.open(&c)?.is(Over)?;
    beyond_the_limit(lab, &old)
}

/// One more than the limit has been let through by the rule, which is never known on loopback.
fn beyond_the_limit(lab: &mut Lab, old: &Flow) -> Result<()> {
    lab.settle()?;
    match lab.path() {
        Path::Wire => lab.data(old)?.is(Over),
        Path::Loopback => lab.data(old)?.differs(Under, Over, RefusedAttemptsCounted),
    }
}

/// It is not added, even where it is the first of its key.
fn alone(lab: &mut Lab) -> Result<()> {
    let old = older(lab, limit(1).target(Target::Drop))?;
    let [a] = lab.flows();
    lab.data(&old)?.is(Under)?;
    lab.open(&a)?.differs(Under, Over, OlderConnectionAdded)
}

/// Its packets are never dropped by the match itself.
fn others_closed(lab: &mut Lab) -> Result<()> {
    let old = older(lab, limit(1))?;
    let [a] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.close(&a)?;
    lab.data(&old)?.differs(Under, Dropped, AssuredDropped)
}

/// One that is not assured yet is added when the rule sees its next packet.
fn not_assured(lab: &mut Lab) -> Result<()> {
    lab.track()?;
    let [old, a] = lab.flows();
    lab.outside.send(&old.first()?, &old)?;
    lab.install(limit(1).target(Target::Drop))?;
    lab.again(&old)?.is(Under)?;
    lab.open(&a)?.is(Over)
}
