// SPDX-License-Identifier: GPL-2.0

//! Ways to pass by the limit, or to turn it against others, by packets that a client can send: each
//! is judged by what is open at the server, which is a real one, and never by what the match says.

mod burst;
mod colluder;
mod deleted;
mod dnat;
mod fragments;
mod freeze;
mod icmp;
mod judge;
mod late;
mod mixed;
mod output;
mod queue;
mod queue_mask;
mod reset_each;
mod reversed;
mod revive;
mod server;
pub mod site;
mod synflag;
mod synproxy;
mod time_wait;
mod untracked;
mod victim;
mod wire;

use anyhow::Result;

use crate::registry::Registry;
use crate::variant::Variant;
use site::{Place, Site};

pub fn register(registry: &mut Registry) {
    revive::register(registry);
    burst::register(registry);
    freeze::register(registry);
    synflag::register(registry);
    time_wait::register(registry);
    mixed::register(registry);
    reset_each::register(registry);
    reversed::register(registry);
    icmp::register(registry);
    colluder::register(registry);
    queue::register(registry);
    queue_mask::register(registry);
    synproxy::register(registry);
    late::register(registry);
    untracked::register(registry);
    deleted::register(registry);
    dnat::register(registry);
    fragments::register(registry);
    output::register(registry);
}

/// One way, under each family and front end.
fn each(
    registry: &mut Registry,
    name: &str,
    place: Place,
    way: impl Fn(&mut Site) -> Result<()> + Clone + 'static,
) {
    for variant in Variant::tcp() {
        let way = way.clone();
        registry.add(format!("evasion/{name}/{variant}"), move |module| {
            way(&mut Site::new(module, variant, place)?)
        });
    }
}
