// SPDX-License-Identifier: GPL-2.0

//! Each allocation that the module makes fails, one after the other: while a rule is made, at the
//! first packet of a client, and at the growth of all that remembers connections. It takes a kernel
//! with failslab:
//!
//!     scripts/vm --kernel debug --memory 2048 --timeout 3000 -- 'vmtest run --match rs --debug faults'
//!
//! These are the allocations (tests/host/allocations compares the list with the source):
//!
//! | where | what | reached by |
//! | --- | --- | --- |
//! | `netfilter/xtables.rs` | the rule, with its table | making the rule |
//! | `counting/bucket.rs` | a crowd | the second connection of a client |
//! | `counting/chunked.rs` (`nodes.push`) | the list of a vector | the first bucket of a shard, the first connection of a crowd, the first of an index |
//! | `counting/chunked.rs` (`with_capacity`) | a piece | the same, and what is more than a kilobyte |
//! | `counting/chunked.rs` (`node.push`) | the list of pieces | the same |
//! | `counting/chunked.rs` (`move_into`) | a longer, or a shorter, first piece | the 5th, 9th, ... connection of a client |

use anyhow::{ensure, Context, Result};

use crate::decision::Verdict::{Dropped, Over, Under};
use crate::failslab::Nth;
use crate::lab::Lab;
use crate::module;
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Path, Transport, Variant};

/// Connections of one client: more than a piece holds.
const CONNECTIONS: usize = 70;
/// Clients with one.
const CLIENTS: u16 = 4;

pub fn register(registry: &mut Registry) {
    // Once: the kernel's failslab counts on from where it was, and cannot be asked where that is.
    const VARIANT: Variant = Variant {
        family: Family::Ipv4,
        front_end: FrontEnd::Legacy,
        transport: Transport::Udp,
    };
    registry
        .add("faults/each_allocation_fails", |module| {
            let mut lab = Lab::new(module, VARIANT, Path::Wire)?;
            each_allocation_fails(&mut lab)
        })
        .exclusive()
        .debug()
        .timeout(120);
}

fn each_allocation_fails(lab: &mut Lab) -> Result<()> {
    let mut failslab = Nth::new()?;
    let [mut rules, mut packets] = [0, 0];
    for nth in 1.. {
        failslab.arm(nth)?;
        let outcome = with_one_failure(lab, &mut failslab)
            .with_context(|| format!("when allocation {nth} has failed"))?;
        match outcome {
            Outcome::NothingFailed => break,
            Outcome::NoRule => rules += 1,
            Outcome::PacketDropped => packets += 1,
            Outcome::NoDifference => {}
        }
    }
    // One for the rule, three for each list that is begun, of which each crowd has three.
    ensure!(rules >= 1, "no rule failed");
    ensure!(packets >= 20, "only {packets} packets were dropped");
    Ok(())
}

enum Outcome {
    NothingFailed,
    NoRule,
    PacketDropped,
    /// What failed was only to save memory, or is tried again.
    NoDifference,
}

fn with_one_failure(lab: &mut Lab, failslab: &mut Nth) -> Result<Outcome> {
    let rule = limit(CONNECTIONS as u32).target(Target::Drop);
    let no_memory = module::dropped("no_memory")?;
    let mut outcome = Outcome::NothingFailed;
    if let Err(error) = lab.install(rule) {
        ensure!(failslab.disarm()?, "{error}");
        // What iptables-legacy-restore says is the same for all errors.
        let text = format!("{error:#}");
        let told = text.contains("Cannot allocate memory") || text.contains("line 5 failed");
        ensure!(told, "not told that memory lacks: {text}");
        outcome = Outcome::NoRule;
        lab.install(rule)?;
    }

    let mut dropped = 0;
    let clients = [1; CONNECTIONS].into_iter().chain(2..2 + CLIENTS);
    let flows: Vec<_> = clients.map(|client| lab.flow_of(client)).collect();
    for flow in &flows {
        if lab.open(flow)?.value() == Dropped {
            dropped += 1;
            lab.again(flow)?.is(Under)?;
        }
    }
    if !matches!(outcome, Outcome::NoRule) {
        let failed = failslab.disarm()?;
        outcome = match (failed, dropped) {
            (false, 0) => Outcome::NothingFailed,
            (true, 0) => Outcome::NoDifference,
            (true, 1) => Outcome::PacketDropped,
            _ => anyhow::bail!("{dropped} packets were dropped (failed: {failed})"),
        };
    }
    let counted = module::dropped("no_memory")? - no_memory;
    ensure!(counted == dropped, "{counted} of {dropped} are counted");

    // Each of them counts once, and none that is gone.
    let another = lab.flow_of(1);
    lab.open(&another)?.is(Over)?;
    lab.close(&flows[0])?;
    system::settle()?;
    lab.open(&another)?.is(Under)?;
    let more = lab.flow_of(1);
    lab.open(&more)?.is(Over)?;
    Ok(outcome)
}
