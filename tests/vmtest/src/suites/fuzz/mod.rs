// SPDX-License-Identifier: GPL-2.0

//! Whatever comes from userspace and from the network: inputs that nobody thought of.

mod abi;
mod attacks;
mod packets;

use anyhow::{ensure, Context, Result};

use crate::fuzz::Fuzzing;
use crate::module::{self, Reload};
use crate::registry::Registry;
use crate::variant::{Module, Transport, Variant};

/// How many variants share the time of a target: those of [`Variant`] for one transport.
const VARIANTS: u32 = 4;

pub fn register(registry: &mut Registry, fuzzing: Fuzzing) {
    for variant in Variant::all().filter(|variant| variant.transport == Transport::Udp) {
        registry
            .add(format!("fuzz/abi/{variant}"), move |module| {
                abi::fuzz(module, variant, fuzzing)
            })
            .timeout(fuzzing.timeout());
        registry
            .add(format!("fuzz/packets/{variant}"), move |module| {
                packets::fuzz(module, variant, fuzzing)
            })
            .timeout(fuzzing.timeout());
    }
    for variant in Variant::tcp() {
        registry
            .add(format!("fuzz/attacks/{variant}"), move |module| {
                attacks::fuzz(module, variant, fuzzing)
            })
            .timeout(fuzzing.timeout());
    }
    registry
        .add("fuzz/unload_afterwards", unload_afterwards)
        .exclusive();
}

/// Nothing holds the module any more.
fn unload_afterwards(module: Module) -> Result<()> {
    module::wait_until_unused(module)?;
    let _reload = Reload(module);
    module::unload(module).context("unload")?;
    ensure!(!module::is_loaded(module), "it is still there");
    module::load(module)
}
