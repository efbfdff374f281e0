// SPDX-License-Identifier: GPL-2.0

//! What went wrong in the in-tree module over the years, each under the month in which it was
//! reported, and what still does.

mod bursts;
mod counting;
mod lifetime;

use anyhow::Result;

use crate::lab::Lab;
use crate::registry::{Case, Registry};
use crate::variant::{Path, Variant};

pub fn register(registry: &mut Registry) {
    bursts::register(registry);
    counting::register(registry);
    lifetime::register(registry);
}

fn wire<'a>(
    registry: &'a mut Registry,
    name: &str,
    variant: Variant,
    scenario: fn(&mut Lab) -> Result<()>,
) -> &'a mut Case {
    registry.add(format!("peers/{name}/{variant}"), move |module| {
        scenario(&mut Lab::new(module, variant, Path::Wire)?)
    })
}
