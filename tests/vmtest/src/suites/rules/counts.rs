// SPDX-License-Identifier: GPL-2.0

//! Each rule counts for itself.

use anyhow::{ensure, Context, Result};

use crate::decision::Observed;
use crate::decision::Verdict::{Over, Under};
use crate::lab::Lab;
use crate::net::address::PORT;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Iptables, Ruleset, Target};
use crate::variant::{FrontEnd, Module, Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    for variant in Variant::all().filter(|variant| variant.transport == Transport::Udp) {
        let mut add = |name: &str, scenario: fn(Module, Variant) -> Result<()>| {
            registry.add(format!("rules/{name}/{variant}"), move |module| {
                scenario(module, variant)
            });
        };
        add("count_apart", count_apart);
        add("identical_count_apart", identical_count_apart);
        add("replaced_begins_anew", replaced_begins_anew);
        add("saved_counters_agree", saved_counters_agree);
    }
    for variant in Variant::sample(Transport::Udp) {
        registry.add(format!("rules/another_is_added/{variant}"), move |module| {
            another_is_added(module, variant)
        });
    }
    registry.add("rules/legacy_and_nft_at_once", legacy_and_nft_at_once);
}

/// How many packets the rules of INPUT have matched while `work` was done.
fn matched(iptables: Iptables, work: impl FnOnce() -> Result<()>) -> Result<Vec<u64>> {
    let before = iptables.packets("filter", Chain::Input)?;
    work()?;
    let after = iptables.packets("filter", Chain::Input)?;
    ensure!(before.len() == after.len(), "the rules are others now");
    before
        .iter()
        .zip(&after)
        .map(|(before, after)| after.checked_sub(*before).context("a counter fell"))
        .collect()
}

/// Two rules for two ports.
fn count_apart(module: Module, variant: Variant) -> Result<()> {
    const OTHER: u16 = PORT + 1;
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    let rules = [PORT, OTHER]
        .into_iter()
        .fold(Ruleset::default(), |set, port| {
            let rule = format!("-p udp --dport {port} {}", limit(1).matches());
            set.filter(Chain::Input, rule)
        });
    lab.iptables().restore(&rules)?;
    for (port, expected) in [
        (PORT, [0, 0]),
        (OTHER, [0, 0]),
        (PORT, [1, 0]),
        (OTHER, [0, 1]),
    ] {
        let [mut flow] = lab.flows();
        flow.tuple.destination.set_port(port);
        let counted = matched(lab.iptables(), || lab.outside.send(&flow.first()?, &flow))?;
        lab.observe(&format!("matches of a packet to port {port}"), counted)
            .is(expected.to_vec())?;
    }
    Ok(())
}

/// The same rule twice: the first refuses what the second then does not see.
fn identical_count_apart(module: Module, variant: Variant) -> Result<()> {
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    let rule = format!("-p udp {}", limit(1).matches());
    let rules = Ruleset::default()
        .filter(Chain::Input, &rule)
        .filter(Chain::Input, &rule)
        .filter(Chain::Input, format!("{rule} -j DROP"))
        .filter(Chain::Input, &rule);
    lab.iptables().restore(&rules)?;
    for expected in [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]] {
        let [flow] = lab.flows();
        let counted = matched(lab.iptables(), || lab.outside.send(&flow.first()?, &flow))?;
        lab.observe("matches of a packet", counted)
            .is(expected.to_vec())?;
    }
    Ok(())
}

/// A rule that is put in the place of another knows nothing of what that one had counted.
fn replaced_begins_anew(module: Module, variant: Variant) -> Result<()> {
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    let rule = limit(1).target(Target::Drop);
    let [a, b, c] = lab.flows();
    lab.install(rule)?;
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.install(rule)?;
    lab.open(&b)?.is(Under)?;
    lab.open(&c)?.is(Over)
}

/// iptables-legacy replaces the whole table even where it only adds a rule, iptables-nft does not.
fn another_is_added(module: Module, variant: Variant) -> Result<()> {
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    let [a, b, c] = lab.flows();
    lab.install(limit(1).target(Target::Drop))?;
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    lab.iptables().command("-A INPUT -p 99 -j ACCEPT")?;
    lab.settle()?;
    match variant.front_end {
        FrontEnd::Legacy => lab.open(&b)?.is(Under)?,
        FrontEnd::Nft => lab.open(&b)?.is(Over)?,
    }
    lab.open(&c)?.is(Over)
}

/// What these tests read from the kernel is what iptables-save prints.
fn saved_counters_agree(module: Module, variant: Variant) -> Result<()> {
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    lab.install(limit(2))?;
    for flow in lab.flows::<5>() {
        let _ = lab.open(&flow)?;
    }
    let read = lab.iptables().packets("filter", Chain::Input)?;
    ensure!(read == [5, 3, 5], "the rules counted {read:?}");
    let saved = lab.iptables().save("filter")?;
    let printed: Vec<u64> = saved
        .lines()
        .filter(|line| line.contains("-A INPUT"))
        .filter_map(|line| line.strip_prefix('[')?.split(':').next()?.parse().ok())
        .collect();
    ensure!(printed == read, "iptables-save prints {saved}");
    let rule = limit(2).matches();
    ensure!(saved.contains(&rule), "no {rule} in {saved}");
    Ok(())
}

/// Both front ends have a rule in the same hook, and see the same packets.
fn legacy_and_nft_at_once(module: Module) -> Result<()> {
    let variant = |front_end| Variant {
        family: crate::variant::Family::Ipv4,
        front_end,
        transport: Transport::Udp,
    };
    let mut lab = Lab::new(module, variant(FrontEnd::Legacy), Path::Wire)?;
    lab.install(limit(1))?;
    let nft = Iptables {
        front_end: FrontEnd::Nft,
        ..lab.iptables()
    };
    let rule = format!("-p udp --dport {PORT} {}", limit(2).matches());
    nft.restore(&Ruleset::default().filter(Chain::Input, &rule))?;

    let [a, b, c, d] = lab.flows();
    for (flow, legacy, over) in [(&a, Under, 0), (&b, Over, 0), (&c, Over, 1), (&d, Over, 1)] {
        let counted = matched(nft, || lab.open(flow)?.is(legacy))?;
        Observed::new(module, "over the limit in nft", counted).is(vec![over])?;
    }
    // One goes, the other stays as it is.
    nft.restore(&Ruleset::empty())?;
    let [e] = lab.flows();
    lab.open(&e)?.is(Over)?;
    lab.iptables().restore(&Ruleset::empty())?;
    nft.restore(&Ruleset::default().filter(Chain::Input, &rule))?;
    let counted = matched(nft, || lab.outside.send(&e.first()?, &e))?;
    Observed::new(module, "over the limit in nft", counted).is(vec![0])
}
