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

use std::fs;
use std::path::Path as FilePath;

use anyhow::{ensure, Context, Result};

use crate::decision::Verdict::{Dropped, Over, Under};
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

/// The kernel's failslab, for what this module allocates.
struct Failslab {
    /// How many allocations it has counted.
    counted: u64,
    nth: u64,
}

impl Failslab {
    const DIRECTORY: &str = "/sys/kernel/debug/failslab";

    fn new() -> Result<Self> {
        ensure!(
            FilePath::new(Self::DIRECTORY).exists(),
            "this kernel has no failslab"
        );
        let (start, end) = text_of_module()?;
        for (name, value) in [
            ("times", "0"),
            ("probability", "100"),
            ("interval", "1"),
            ("space", "0"),
            ("verbose", "0"),
            ("task-filter", "N"),
            ("ignore-gfp-wait", "N"),
            ("stacktrace-depth", "32"),
            ("require-start", &format!("{start:#x}")),
            ("require-end", &format!("{end:#x}")),
        ] {
            Self::set(name, value)?;
        }
        Ok(Self { counted: 0, nth: 0 })
    }

    fn set(name: &str, value: &str) -> Result<()> {
        let file = format!("{}/{name}", Self::DIRECTORY);
        fs::write(&file, value).with_context(|| format!("{value} > {file}"))
    }

    /// Has the `nth` allocation from now on fail.
    fn arm(&mut self, nth: u64) -> Result<()> {
        // Those whose number is a multiple of the interval fail. The kernel begins to count where
        // the interval is more than one, and never begins anew.
        let interval = if nth == 1 { 1 } else { self.counted + nth };
        self.nth = nth;
        Self::set("interval", &interval.to_string())?;
        Self::set("times", "1")
    }

    /// Whether it has failed.
    fn disarm(&mut self) -> Result<bool> {
        let times = fs::read_to_string(format!("{}/times", Self::DIRECTORY))?;
        let failed = times.trim() == "0";
        Self::set("times", "0")?;
        if failed && self.nth > 1 {
            self.counted += self.nth;
        }
        Ok(failed)
    }
}

impl Drop for Failslab {
    fn drop(&mut self) {
        let _ = Self::set("times", "0");
        let _ = Self::set("probability", "0");
    }
}

/// Where the module's functions are.
fn text_of_module() -> Result<(u64, u64)> {
    /// Longer than any of them.
    const FUNCTION: u64 = 0x4000;
    const PAGE: u64 = 0x1000;

    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for line in symbols.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some("t" | "T")) = (words.next(), words.next()) else {
            continue;
        };
        let address = u64::from_str_radix(address, 16)?;
        match line.ends_with("[xt_connlimit_rs]") {
            true => ours.push(address),
            false => others.push(address),
        }
    }
    let first = *ours.iter().min().context("no functions")?;
    let last = *ours.iter().max().context("no functions")?;
    ensure!(first != 0, "the kernel tells no addresses");
    // How long the last one is is not told, but no two modules share a page.
    let next = others.into_iter().filter(|&other| other > last).min();
    let end = next.map_or(u64::MAX, |next| next & !(PAGE - 1));
    Ok((first, end.min(last + FUNCTION)))
}

fn each_allocation_fails(lab: &mut Lab) -> Result<()> {
    let mut failslab = Failslab::new()?;
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

fn with_one_failure(lab: &mut Lab, failslab: &mut Failslab) -> Result<Outcome> {
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
