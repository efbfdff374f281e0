// SPDX-License-Identifier: GPL-2.0

//! The module goes when no rule needs it, and not before.

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;

use crate::decision::Verdict::{Over, Under};
use crate::lab::Lab;
use crate::module::{self, Reload};
use crate::net::flood::Flood;
use crate::registry::Registry;
use crate::rules::{limit, Chain, Ruleset, Target};
use crate::variant::{Module, Path, Transport, Variant};

pub fn register(registry: &mut Registry) {
    for variant in Variant::all().filter(|variant| variant.transport == Transport::Udp) {
        registry
            .add(format!("rules/unload_refused/{variant}"), move |module| {
                unload_refused(module, variant)
            })
            .exclusive();
    }
    for variant in Variant::sample(Transport::Udp) {
        registry
            .add(
                format!("rules/unload_under_traffic/{variant}"),
                move |module| unload_under_traffic(module, variant),
            )
            .exclusive();
    }
}

/// Refused while a rule is there; the rule goes on counting as if nothing had been tried.
fn unload_refused(module: Module, variant: Variant) -> Result<()> {
    module::wait_until_unused(module)?;
    let _reload = Reload(module);
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    lab.install(limit(1).target(Target::Drop))?;
    let [a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    let refused = module::unload(module);
    ensure!(refused == Err(Errno::EWOULDBLOCK), "unload: {refused:?}");
    lab.open(&b)?.is(Over)?;

    lab.iptables().restore(&Ruleset::empty())?;
    module::wait_until_unused(module)?;
    module::unload(module).context("unload without rules")?;
    ensure!(!module::is_loaded(module), "it is still there");
    module::load(module)?;
    lab.install(limit(1).target(Target::Drop))?;
    lab.open(&b)?.is(Under)
}

/// The last rule goes, and the module right after it, while packets are on their way.
fn unload_under_traffic(module: Module, variant: Variant) -> Result<()> {
    module::wait_until_unused(module)?;
    let _reload = Reload(module);
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    let floods = [0, 1].map(|cpu| {
        let tun = lab.outside.tun()?;
        anyhow::Ok(Flood::start(tun, variant.family, cpu))
    });
    let rule = format!("-p udp {} -j DROP", limit(2).matches());
    let rules = Ruleset::default().filter(Chain::Input, &rule);
    for _ in 0..3 {
        lab.iptables().restore(&rules)?;
        for flood in floods.iter().flatten() {
            flood.goes_on()?;
        }
        lab.iptables().restore(&Ruleset::empty())?;
        module::wait_until_unused(module)?;
        module::unload(module).context("unload")?;
        for flood in floods.iter().flatten() {
            flood.goes_on()?;
        }
        module::load(module)?;
    }
    for flood in floods {
        flood?.stop()?;
    }
    lab.install(limit(1).target(Target::Drop))?;
    let [a, b] = [lab.flow_of(251), lab.flow_of(251)];
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)
}
