// SPDX-License-Identifier: GPL-2.0

//! As many keys and connections as there may ever be. They need minutes, 3 GiB, and room in
//! conntrack:
//!
//!     scripts/vm --memory 4096 --timeout 1800 -- 'echo 1500000 >/proc/sys/net/netfilter/nf_conntrack_max;
//!         vmtest run --match rs --slow scale'

use anyhow::{ensure, Result};

use crate::conntrack;
use crate::lab::Lab;
use crate::net::link;
use crate::net::many::{self, Spread};
use crate::registry::Registry;
use crate::rules::{limit, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Path, Transport, Variant};

type Scenario = fn(&mut Lab) -> Result<()>;

pub fn register(registry: &mut Registry) {
    const VARIANT: Variant = Variant {
        family: Family::Ipv4,
        front_end: FrontEnd::Legacy,
        transport: Transport::Udp,
    };
    let scenarios: [(&str, Scenario); 2] = [
        ("connections_of_one_key", connections_of_one_key),
        ("keys", keys),
    ];
    for (name, scenario) in scenarios {
        registry
            .add(format!("scale/{name}"), move |module| {
                scenario(&mut Lab::new(module, VARIANT, Path::Wire)?)
            })
            .exclusive()
            .slow()
            .timeout(900);
    }
}

/// Sends first packets. Returns how many the rule has matched.
fn send(lab: &Lab, spread: Spread, numbers: std::ops::Range<u32>) -> Result<u64> {
    let tun = lab.outside.tun()?;
    let before = lab.counters()?;
    let sent = u64::from(numbers.end - numbers.start);
    for number in numbers {
        tun.send(&many::first_packet(spread, number)?)?;
    }
    Ok(lab.count_since(before, sent)?[1])
}

/// Nothing of it expires by itself.
fn keep() -> Result<()> {
    link::conntrack_timeout("udp_timeout", 100_000)
}

/// The limit is exact among a hundred thousand, and the end of one of them makes room for another.
fn connections_of_one_key(lab: &mut Lab) -> Result<()> {
    const MANY: u32 = 100_000;
    keep()?;
    lab.install(limit(MANY).target(Target::Drop))?;
    let matched = send(lab, Spread::OneKey, 0..MANY)?;
    ensure!(matched == 0, "{matched} of {MANY} were over the limit");
    let matched = send(lab, Spread::OneKey, MANY..MANY + 500)?;
    ensure!(matched == 500, "{matched} of 500 more were over the limit");

    conntrack::delete(&many::connection(Spread::OneKey, MANY / 2)?)?;
    let mut attempt = MANY + 500;
    system::wait_until("there is room for one more", || {
        attempt += 1;
        Ok(send(lab, Spread::OneKey, attempt..attempt + 1)? == 0)
    })?;
    let matched = send(lab, Spread::OneKey, MANY..MANY + 500)?;
    ensure!(matched == 500, "{matched} of 500 more were over the limit");
    Ok(())
}

/// A million keys are told apart, each with its own limit.
fn keys(lab: &mut Lab) -> Result<()> {
    const MANY: u32 = 1_000_000;
    const SOME: usize = 1009;
    keep()?;
    lab.install(limit(1).target(Target::Drop))?;
    let matched = send(lab, Spread::OwnKey, 0..MANY)?;
    ensure!(matched == 0, "{matched} of {MANY} were over the limit");

    let tun = lab.outside.tun()?;
    let before = lab.counters()?;
    let mut sent = 0;
    for number in (0..MANY).step_by(SOME) {
        let mut second = many::connection(Spread::OwnKey, number)?;
        second.source.set_port(second.source.port() + 1);
        tun.send(&crate::net::packet::datagram(
            second.source,
            second.destination,
        )?)?;
        sent += 1;
    }
    let matched = lab.count_since(before, sent)?[1];
    ensure!(
        matched == sent,
        "{matched} of {sent} second ones were over the limit"
    );
    Ok(())
}
