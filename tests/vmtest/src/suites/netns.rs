// SPDX-License-Identifier: GPL-2.0

//! Network namespaces: each counts for itself, and may die with rules in it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{ensure, Result};

use crate::decision::Verdict::{Over, Under};
use crate::lab::Lab;
use crate::module;
use crate::net::address::PORT;
use crate::net::link;
use crate::net::netns::Netns;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Iptables, Ruleset, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Module, Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    for variant in Variant::all().filter(|variant| variant.transport == Transport::Udp) {
        registry.add(format!("netns/counts_apart/{variant}"), move |module| {
            counts_apart(module, variant)
        });
    }
    for front_end in FrontEnd::ALL {
        registry
            .add(
                format!("netns/dies_with_rules/{front_end}"),
                move |module| dies_with_rules(module, front_end),
            )
            .exclusive();
        registry
            .add(
                format!("netns/dies_under_traffic/{front_end}"),
                move |module| dies_under_traffic(module, front_end),
            )
            .exclusive();
    }
}

/// The same connections in two namespaces.
fn counts_apart(module: Module, variant: Variant) -> Result<()> {
    let scenario = || {
        let mut lab = Lab::new(module, variant, Path::Wire)?;
        lab.install(limit(1).target(Target::Drop))?;
        let [a, b] = lab.flows();
        lab.open(&a)?.is(Under)?;
        lab.open(&b)?.is(Over)?;
        Ok(lab)
    };
    let mut first = scenario()?;
    let second = Netns::new()?.within(scenario)?;
    let [c] = first.flows();
    first.open(&c)?.is(Over)?;
    drop(second);
    first.open(&c)?.is(Over)
}

/// Rules for both families, with what they remember.
fn dies_with_rules(module: Module, front_end: FrontEnd) -> Result<()> {
    module::wait_until_unused(module)?;
    let victim = Netns::new()?;
    victim.within(|| {
        for family in Family::ALL {
            let variant = Variant {
                family,
                front_end,
                transport: Transport::Udp,
            };
            let mut lab = Lab::new(module, variant, Path::Loopback)?;
            lab.install(limit(2))?;
            for flow in lab.flows::<4>() {
                let _ = lab.open(&flow)?;
            }
        }
        Ok(())
    })?;
    let users = module::users(module)?;
    ensure!(users == 2, "{users} rules use the module, not 2");
    drop(victim);
    module::wait_until_unused(module)
}

/// Packets arrive until the very end.
fn dies_under_traffic(module: Module, front_end: FrontEnd) -> Result<()> {
    const ADDRESS: &str = "192.168.77.2";
    let iptables = Iptables {
        family: Family::Ipv4,
        front_end,
    };
    let rules = Ruleset::default().filter(
        Chain::Input,
        format!("-p udp {} -j DROP", limit(5).matches()),
    );
    for _ in 0..3 {
        module::wait_until_unused(module)?;
        let victim = Netns::new()?;
        let near = link::addresses("near", &["192.168.77.1/24"]);
        link::ip(&(link::veth("near", "far", &victim) + &near))?;
        let far = link::addresses("far", &[&format!("{ADDRESS}/24")]);
        victim.within(|| link::ip(&far))?;
        victim.within(|| iptables.restore(&rules))?;

        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let to: SocketAddr = (ADDRESS.parse::<std::net::IpAddr>()?, PORT).into();
                while !stop.load(Ordering::Relaxed) {
                    // Fails once the other end is gone, which is the point.
                    let _ = UdpSocket::bind("0.0.0.0:0")?.send_to(b"flood", to);
                }
                anyhow::Ok(())
            });
            let seen = victim.within(|| {
                system::wait_until("packets reach the rule", || {
                    Ok(iptables.packets("filter", Chain::Input)?[0] > 10)
                })
            });
            drop(victim);
            let unused = module::wait_until_unused(module);
            stop.store(true, Ordering::Relaxed);
            sender.join().expect("the sender does not panic")?;
            seen.and(unused)
        })?;
    }
    Ok(())
}
