// SPDX-License-Identifier: GPL-2.0

//! Rules that change while packets go through them.

use anyhow::Result;

use crate::decision::Verdict::{Over, Under};
use crate::lab::Lab;
use crate::net::flood::Flood;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};
use crate::variant::{Module, Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    for variant in Variant::all().filter(|variant| variant.transport == Transport::Udp) {
        registry
            .add(
                format!("rules/change_under_traffic/{variant}"),
                move |module| change_under_traffic(module, variant),
            )
            .exclusive();
    }
}

/// Added, replaced by the same and by others, flushed; what stands in the end works.
fn change_under_traffic(module: Module, variant: Variant) -> Result<()> {
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    let [above, upto] = [limit(3), limit(3).upto().mask(0)].map(|rule| {
        let rule = format!("-p udp {} -j DROP", rule.matches());
        Ruleset::default().filter(Chain::Input, &rule)
    });
    let both = upto.clone().filter(
        Chain::Input,
        format!("-p udp {}", limit(0).daddr().matches()),
    );
    let floods = [0, 1].map(|cpu| {
        let tun = lab.outside.tun()?;
        anyhow::Ok(Flood::start(tun, variant.family, cpu))
    });
    for _ in 0..2 {
        for rules in [&above, &above, &both, &upto, &Ruleset::empty()] {
            lab.iptables().restore(rules)?;
            for flood in floods.iter().flatten() {
                flood.goes_on()?;
            }
        }
    }
    for flood in floods {
        flood?.stop()?;
    }
    lab.install(limit(1).target(Target::Drop))?;
    let [a, b] = [lab.flow_of(251), lab.flow_of(251)];
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)
}
