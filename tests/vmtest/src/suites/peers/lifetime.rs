// SPDX-License-Identifier: GPL-2.0

//! Things that live too long or not long enough.

use std::fs;
use std::time::Duration;

use anyhow::{ensure, Result};

use super::wire;
use crate::conntrack;
use crate::decision::Verdict::{Over, Under};
use crate::difference::Difference::OneAtLeast;
use crate::lab::Lab;
use crate::module::{self, Reload};
use crate::net::flood::Flood;
use crate::net::link;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Module, Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    for variant in Variant::few() {
        wire(
            registry,
            "2025_12_no_reference_is_leaked",
            variant,
            no_reference_is_leaked,
        );
    }
    registry
        .add("peers/2025_02_jiffies_wrap", |module| {
            let variant = Variant {
                family: Family::Ipv4,
                front_end: FrontEnd::Nft,
                transport: Transport::Udp,
            };
            jiffies_wrap(&mut Lab::new(module, variant, Path::Wire)?)
        })
        .exclusive()
        .slow()
        .timeout(400);
    for variant in Variant::sample(Transport::Udp) {
        registry
            .add(
                format!("peers/2026_06_unloaded_while_cleaning_up/{variant}"),
                move |module| unloaded_while_cleaning_up(module, variant),
            )
            .exclusive();
    }
}

/// Packets that carry no connection, of connections that conntrack has: each look-up takes a
/// reference. One that is kept keeps the connection from being freed.
fn no_reference_is_leaked(lab: &mut Lab) -> Result<()> {
    lab.track()?;
    let [mut a, b] = lab.flows();
    lab.outside.send(&a.first()?, &a)?;
    lab.establish_unseen(&mut a)?;
    lab.outside.send(&b.first()?, &b)?;
    for rule in [limit(5), limit(5).upto(), limit(0)] {
        lab.install_at("raw", Chain::Prerouting, rule, Ruleset::default())?;
        for _ in 0..3 {
            if rule.limit == 0 {
                lab.data(&a)?.differs(Under, Over, OneAtLeast)?;
                lab.again(&b)?.is(Over)?;
            } else {
                lab.data(&a)?.is(Under)?;
                lab.again(&b)?.is(Under)?;
            }
            lab.settle()?;
        }
    }
    let count = || -> Result<u32> {
        let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?;
        Ok(text.trim().parse()?)
    };
    ensure!(count()? >= 2, "conntrack has only {} entries", count()?);
    conntrack::flush()?;
    system::wait_until("conntrack has freed its entries", || Ok(count()? == 0))
}

/// Jiffies as 32 bits wrap five minutes after boot. What ends after that is noticed as before.
fn jiffies_wrap(lab: &mut Lab) -> Result<()> {
    const WRAP: Duration = Duration::from_secs(300);
    const MARGIN: Duration = Duration::from_secs(2);
    let uptime = || -> Result<Duration> {
        let text = fs::read_to_string("/proc/uptime")?;
        let seconds = text.split_whitespace().next().unwrap_or_default();
        Ok(Duration::from_secs_f64(seconds.parse()?))
    };
    ensure!(
        uptime()? + MARGIN < WRAP,
        "the machine has been up for {:?} already",
        uptime()?
    );
    // Entries must not time out while this waits.
    link::conntrack_timeout("udp_timeout", 1000)?;
    link::conntrack_timeout("udp_timeout_stream", 1000)?;
    lab.install(limit(1).target(Target::Drop))?;
    let [mut a, b, mut c, d] = lab.flows();
    let wait_for =
        |until: Duration| uptime().map(|now| std::thread::sleep(until.saturating_sub(now)));
    wait_for(WRAP - MARGIN)?;
    lab.open(&a)?.is(Under)?;
    lab.establish(&mut a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    wait_for(WRAP + MARGIN)?;
    lab.again(&b)?.is(Over)?;
    lab.close(&a)?;
    lab.open(&c)?.is(Under)?;
    lab.establish(&mut c)?.is(Under)?;
    lab.open(&d)?.is(Over)?;
    lab.close(&c)?;
    lab.open(&d)?.is(Under)
}

/// Many keys, all of whose connections are gone, so that there is much to clean up; then the rule
/// goes and the module at once after it.
fn unloaded_while_cleaning_up(module: Module, variant: Variant) -> Result<()> {
    const TIMES: usize = 3;
    module::wait_until_unused(module)?;
    let _reload = Reload(module);
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    for _ in 0..TIMES {
        lab.install_before(limit(1), "-j DROP")?;
        let flood = Flood::start(lab.outside.tun()?, variant.family, 1);
        for _ in 0..20 {
            flood.goes_on()?;
        }
        flood.stop()?;
        lab.iptables().restore(&Ruleset::empty())?;
        module::wait_until_unused(module)?;
        module::unload(module)?;
        module::load(module)?;
    }
    lab.install(limit(1).target(Target::Drop))?;
    let [a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)
}
