// SPDX-License-Identifier: GPL-2.0

//! The order in which locks are taken, as lockdep has learnt it. It takes a kernel with lockdep.

use std::collections::HashMap;
use std::fs;

use anyhow::{ensure, Context, Result};

use crate::decision::Verdict::{Over, Under};
use crate::lab::Lab;
use crate::net::link;
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Path, Transport, Variant};

const SHARD: &str = "connlimit_shard";
const CONNTRACK: &str = "&nf_conntrack_locks[i]";

pub fn register(registry: &mut Registry) {
    const VARIANT: Variant = Variant {
        family: Family::Ipv4,
        front_end: FrontEnd::Legacy,
        transport: Transport::Udp,
    };
    registry
        .add("lock_order", |module| {
            lock_order(&mut Lab::new(module, VARIANT, Path::Wire)?)
        })
        .exclusive()
        .debug();
}

/// Conntrack's locks are taken under a shard's, and a shard's under none of conntrack's. Had lockdep
/// found anything wrong, it would have stopped looking.
fn lock_order(lab: &mut Lab) -> Result<()> {
    link::conntrack_timeout("udp_timeout", 1)?;
    lab.install(limit(1).target(Target::Drop))?;
    let [a, b, c] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    // Conntrack takes out an entry that has expired when a look-up comes upon it.
    system::wait_until("the connection has expired", || {
        Ok(lab.open(&c)?.value() == Under)
    })?;

    let stats = fs::read_to_string("/proc/lockdep_stats").context("there is no lockdep")?;
    let on = stats
        .lines()
        .filter_map(|line| line.split_once("debug_locks:"))
        .any(|(_, on)| on.trim() == "1");
    ensure!(on, "lockdep has stopped looking:\n{stats}");

    let within = taken_within()?;
    let shard = within.get(SHARD).context("lockdep knows no shard")?;
    ensure!(
        shard.iter().any(|name| name == CONNTRACK),
        "lockdep does not know that {CONNTRACK} is taken under {SHARD}: {shard:?}"
    );
    for (outer, inner) in &within {
        let ours = inner.iter().any(|name| name == SHARD);
        ensure!(
            !ours || !(outer.contains("nf_conntrack") || outer.contains("ct->lock")),
            "{SHARD} is taken under {outer}"
        );
    }
    Ok(())
}

/// For each class of locks, those that are taken at once when one of it is held.
fn taken_within() -> Result<HashMap<String, Vec<String>>> {
    let mut classes = HashMap::new();
    let mut last: Option<String> = None;
    // "ADDRESS FD: 5 BD: 1 +.-.: NAME", and then " -> [ADDRESS] NAME" for each.
    for line in fs::read_to_string("/proc/lockdep")?.lines() {
        if let Some((_, inner)) = line.split_once("] ") {
            if let Some(outer) = &last {
                let inside: &mut Vec<String> = classes.entry(outer.clone()).or_default();
                inside.push(inner.to_owned());
            }
        } else if let Some((_, name)) = line.rsplit_once(": ") {
            last = Some(name.to_owned());
        }
    }
    Ok(classes)
}
