// SPDX-License-Identifier: GPL-2.0

//! Each allocation that the module makes fails, one after the other: while it is loaded, while a rule
//! is made, at the first packet of a client, and at the growth of all that remembers connections. It
//! takes a kernel with failslab:
//!
//!     scripts/vm --kernel debug --memory 2048 --timeout 3000 -- 'vmtest run --match rs --debug faults'
//!
//! These are the allocations (tests/host/allocations compares the list with the source):
//!
//! | where | what | reached by |
//! | --- | --- | --- |
//! | `netfilter/xtables.rs` | the rule, with its table | making the rule where another one is |
//! | `counting/bucket.rs` | a crowd | the second connection of a client |
//! | `counting/chunked.rs` (`nodes.push`) | the list of a vector | the first bucket of a shard, the first connection of a crowd, the first of an index |
//! | `counting/chunked.rs` (`with_capacity`) | a piece | the same, and what is more than a kilobyte |
//! | `counting/chunked.rs` (`node.push`) | the list of pieces | the same |
//! | `counting/chunked.rs` (`move_into`) | a longer first piece, or a shorter one | the 5th, 9th, ... connection of a client; that there is no shorter one makes no difference |
//!
//! What the `kernel` crate and C allocate for it fails, too: the debugfs directory when it is loaded, and
//! what conntrack needs for the first rule of a namespace. A shard's own index, and lists of more than
//! a few pieces, take more clients than come here: `tests/engine` has their allocations fail (`no_memory`).

use std::collections::BTreeMap;

use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;

use crate::decision::Verdict::{Dropped, Over, Under};
use crate::failslab::{self, Large, Nth};
use crate::flow::Flow;
use crate::lab::Lab;
use crate::module::{self, Reload};
use crate::net::link;
use crate::net::netns::Netns;
use crate::registry::Registry;
use crate::rules::{limit, Ruleset, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Module, Path, Transport, Variant};

/// Connections of one client: more than a piece holds.
const CONNECTIONS: usize = 70;
/// Which of them take memory, and how many allocations: the first three for a list of buckets, then
/// the crowd and its list; its longer pieces, from the ninth on also those of its index; and what
/// begins the second kilobyte.
const ALLOCATIONS: [(usize, u32); 7] = [(0, 3), (1, 4), (4, 1), (8, 9), (16, 2), (32, 2), (64, 3)];
/// Clients with one.
const CLIENTS: u16 = 4;

const VARIANT: Variant = Variant {
    family: Family::Ipv4,
    front_end: FrontEnd::Legacy,
    transport: Transport::Udp,
};

pub fn register(registry: &mut Registry) {
    // Once: the kernel's failslab counts on from where it was, and cannot be asked where that is.
    registry
        .add("faults/each_allocation_fails", |module| {
            let mut lab = Lab::new(module, VARIANT, Path::Wire)?;
            each_allocation_fails(&mut lab)
        })
        .exclusive()
        .debug()
        .timeout(120);
    registry
        .add("faults/loading", loading)
        .exclusive()
        .debug()
        .timeout(120);
    for front_end in [FrontEnd::Legacy, FrontEnd::Nft] {
        let variant = Variant {
            front_end,
            ..VARIANT
        };
        registry
            .add(format!("faults/rule/{variant}"), move |module| {
                let mut lab = Lab::new(module, variant, Path::Wire)?;
                rule(&mut lab)
            })
            .exclusive()
            .debug();
    }
}

/// Without memory it is loaded and works, or it is not loaded.
fn loading(module: Module) -> Result<()> {
    let _reload = Reload(module);
    module::wait_until_unused(module)?;
    let mut failures = 0;
    for nth in 1.. {
        module::unload(module)?;
        let (loaded, failed) = failslab::while_initialising(nth, || module::load(module))?;
        match loaded {
            Ok(()) => Netns::new()?.within(|| {
                let mut lab = Lab::new(module, VARIANT, Path::Wire)?;
                works(&mut lab).map(drop)
            })?,
            Err(error) => {
                let no_memory = error.downcast_ref() == Some(&Errno::ENOMEM);
                ensure!(failed && no_memory, "allocation {nth}: {error:#}");
                module::load(module)?;
            }
        }
        module::wait_until_unused(module)?;
        if !failed {
            break;
        }
        failures += 1;
    }
    // A directory and a file, each with its inode and name.
    ensure!(failures >= 4, "only {failures} allocations failed");
    Ok(())
}

/// A rule lets one connection in, and refuses another one. Returns both.
fn works(lab: &mut Lab) -> Result<[Flow; 2]> {
    lab.install(limit(1).target(Target::Drop))?;
    let [a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    Ok([a, b])
}

/// Without memory for another rule, those that there are go on; and nothing holds conntrack that would
/// not let it go.
fn rule(lab: &mut Lab) -> Result<()> {
    let [a, b] = works(lab)?;
    lab.check_tracked(&a, true)?;

    let large = Large::fail_next()?;
    let made = lab.install(limit(1).target(Target::Drop));
    ensure!(large.has_failed()?, "the rule is small");
    drop(large);
    let Err(error) = made else {
        bail!("a rule was made without memory");
    };
    check_told(&error)?;
    lab.again(&a)?.is(Under)?;
    lab.again(&b)?.is(Over)?;

    lab.iptables().restore(&Ruleset::empty())?;
    module::wait_until_unused(lab.module())?;
    let [c] = lab.flows();
    lab.outside.send(&c.first()?, &c)?;
    lab.check_tracked(&c, false)
}

/// What iptables-legacy-restore says is the same for all errors.
fn check_told(error: &anyhow::Error) -> Result<()> {
    let text = format!("{error:#}");
    let told = text.contains("Cannot allocate memory") || text.contains("line 5 failed");
    ensure!(told, "not told that memory lacks: {text}");
    Ok(())
}

fn each_allocation_fails(lab: &mut Lab) -> Result<()> {
    // Nothing ends by itself.
    link::conntrack_timeout("udp_timeout", 600)?;
    let mut failslab = Nth::new()?;
    let mut rules = 0;
    let mut packets = BTreeMap::<usize, u32>::new();
    for nth in 1.. {
        failslab.arm(nth)?;
        let outcome = with_one_failure(lab, &mut failslab)
            .with_context(|| format!("when allocation {nth} has failed"))?;
        match outcome {
            Outcome::NothingFailed => break,
            Outcome::NoRule => rules += 1,
            Outcome::PacketDropped(number) => *packets.entry(number).or_default() += 1,
            Outcome::NoDifference => {}
        }
    }
    ensure!(rules >= 1, "no rule failed");
    for (number, allocations) in ALLOCATIONS {
        let failed = packets.get(&number).copied().unwrap_or_default();
        ensure!(
            failed >= allocations,
            "of those for connection {number} only {failed} failed"
        );
    }
    Ok(())
}

enum Outcome {
    NothingFailed,
    NoRule,
    /// That of the connection with this number.
    PacketDropped(usize),
    /// What failed was only to save memory, or is tried again.
    NoDifference,
}

fn with_one_failure(lab: &mut Lab, failslab: &mut Nth) -> Result<Outcome> {
    let rule = limit(CONNECTIONS as u32).target(Target::Drop);
    let no_memory = module::dropped("no_memory")?;
    let mut outcome = Outcome::NothingFailed;
    if let Err(error) = lab.install(rule) {
        ensure!(failslab.disarm()?, "{error}");
        check_told(&error)?;
        outcome = Outcome::NoRule;
        lab.install(rule)?;
    }

    let mut dropped = Vec::new();
    let clients = [1; CONNECTIONS].into_iter().chain(2..2 + CLIENTS);
    let flows: Vec<_> = clients.map(|client| lab.flow_of(client)).collect();
    for (number, flow) in flows.iter().enumerate() {
        if lab.open(flow)?.value() == Dropped {
            dropped.push(number);
            lab.again(flow)?.is(Under)?;
        }
    }
    if !matches!(outcome, Outcome::NoRule) {
        let failed = failslab.disarm()?;
        outcome = match (failed, &dropped[..]) {
            (false, []) => Outcome::NothingFailed,
            (true, []) => Outcome::NoDifference,
            (true, &[number]) => Outcome::PacketDropped(number),
            _ => bail!("{dropped:?} were dropped (failed: {failed})"),
        };
    }
    let counted = module::dropped("no_memory")? - no_memory;
    ensure!(counted == dropped.len() as u64, "{counted} of {dropped:?}");

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
