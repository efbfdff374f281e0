// SPDX-License-Identifier: GPL-2.0

//! Conntrack zones: one for each of two devices.

use anyhow::{ensure, Context, Result};

use crate::conntrack;
use crate::decision::Decision;
use crate::decision::Verdict::{Over, Under};
use crate::flow::Flow;
use crate::lab::Lab;
use crate::net::route;
use crate::net::tun::Tun;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};
use crate::variant::{Module, Path, Transport, Variant};

type Scenario = fn(&mut Zones) -> Result<()>;

pub fn register(registry: &mut Registry) {
    let scenarios: [(&str, Scenario); 4] = [
        ("same_tuple_in_two_zones", same_tuple_in_two_zones),
        ("of_the_original_direction", of_the_original_direction),
        ("of_the_reply_direction", of_the_reply_direction),
        ("of_a_template", of_a_template),
    ];
    let variants = || Variant::all().filter(|variant| variant.transport == Transport::Udp);
    for (name, scenario) in scenarios {
        for variant in variants() {
            registry.add(format!("zones/{name}/{variant}"), move |module| {
                scenario(&mut Zones::new(module, variant)?)
            });
        }
    }
}

/// A lab with a second device, through which the same clients can be reached.
pub struct Zones {
    pub lab: Lab,
    second: Tun,
}

impl Zones {
    pub fn new(module: Module, variant: Variant) -> Result<Self> {
        let lab = Lab::new(module, variant, Path::Wire)?;
        let second = Tun::new("tun1")?;
        route::set_up("tun1")?;
        Ok(Self { lab, second })
    }

    /// Packets from the first device are of zone 1, those from the second of zone 2.
    pub fn rules(option: &str) -> Ruleset {
        [1, 2].into_iter().fold(Ruleset::default(), |rules, zone| {
            let rule = format!("-i tun{} -j CT {option} {zone}", zone - 1);
            rules.append("raw", Chain::Prerouting, rule)
        })
    }

    pub fn open_in_first(&mut self, flow: &Flow) -> Result<Decision> {
        self.lab.open(flow)
    }

    pub fn open_in_second(&mut self, flow: &Flow) -> Result<Decision> {
        let packet = flow.first()?;
        self.lab
            .decide_by("first packet in the second zone", flow, |_| {
                self.second.send(&packet)
            })
    }
}

fn same_tuple_in_two_zones(zones: &mut Zones) -> Result<()> {
    let rule = limit(1).target(Target::Drop);
    zones.lab.install_with(rule, Zones::rules("--zone"))?;
    let [a, b, c] = zones.lab.flows();
    zones.open_in_first(&a)?.is(Under)?;
    zones.open_in_second(&a)?.is(Under)?;
    let mut found: Vec<u16> = conntrack::list()?
        .iter()
        .filter(|entry| entry.tuple == a.tuple)
        .map(|entry| entry.zone)
        .collect();
    found.sort_unstable();
    ensure!(found == [1, 2], "the connection is in zones {found:?}");
    zones.open_in_first(&b)?.is(Over)?;
    zones.open_in_second(&b)?.is(Over)?;

    // What ends in one zone goes on in the other.
    conntrack::delete_in_zone(&a.tuple, 1)?;
    zones.lab.settle()?;
    zones.open_in_second(&c)?.is(Over)?;
    zones.open_in_first(&c)?.is(Under)
}

/// The replies are of one zone, so the connections in the two zones must differ.
fn of_the_original_direction(zones: &mut Zones) -> Result<()> {
    let rule = limit(1).target(Target::Drop);
    zones.lab.install_with(rule, Zones::rules("--zone-orig"))?;
    let [a, b, c, d] = zones.lab.flows();
    zones.open_in_first(&a)?.is(Under)?;
    zones.open_in_second(&b)?.is(Under)?;
    zones.open_in_first(&c)?.is(Over)?;
    zones.open_in_second(&d)?.is(Over)
}

/// In their original direction all are of the default zone, in which the tuple is one connection.
fn of_the_reply_direction(zones: &mut Zones) -> Result<()> {
    let rule = limit(1).target(Target::Drop);
    zones.lab.install_with(rule, Zones::rules("--zone-reply"))?;
    let [a, b] = zones.lab.flows();
    zones.open_in_first(&a)?.is(Under)?;
    zones.open_in_second(&a)?.is(Under)?;
    zones.open_in_first(&b)?.is(Over)
}

/// In the table raw, behind CT, packets carry a template that has the zone; the connection is
/// yet to be looked up.
fn of_a_template(zones: &mut Zones) -> Result<()> {
    let rule = limit(1).target(Target::Drop);
    zones
        .lab
        .install_at("raw", Chain::Prerouting, rule, Zones::rules("--zone"))?;
    // Nothing else would make conntrack look at packets.
    let [a, b, c] = zones.lab.flows();
    zones.open_in_first(&a)?.is(Under)?;
    let entry = conntrack::find(&a.tuple)?.context("not tracked")?;
    ensure!(entry.zone == 1, "in zone {}", entry.zone);
    zones.open_in_first(&b)?.is(Over)?;
    zones.open_in_second(&b)?.is(Under)?;
    zones.open_in_second(&c)?.is(Over)?;
    conntrack::delete_in_zone(&a.tuple, 1)?;
    zones.lab.settle()?;
    zones.open_in_first(&c)?.is(Under)
}
