// SPDX-License-Identifier: GPL-2.0

//! Every row of the decision table in the design, and each way out of "presumed refused".

mod admitted;
mod let_through;
mod older;
pub mod pending;
mod protocols;
mod races;
mod refused;
mod together;
mod unparsable;

use anyhow::Result;

use crate::lab::Lab;
use crate::registry::{Case, Registry};
use crate::variant::{Path, Variant};

pub fn register(registry: &mut Registry) {
    admitted::register(registry);
    let_through::register(registry);
    older::register(registry);
    pending::register(registry);
    protocols::register(registry);
    races::register(registry);
    refused::register(registry);
    together::register(registry);
    unparsable::register(registry);
}

/// One scenario under all the variants given.
fn each(
    registry: &mut Registry,
    name: &str,
    path: Path,
    variants: impl Iterator<Item = Variant>,
    scenario: fn(&mut Lab) -> Result<()>,
) {
    for variant in variants {
        add(registry, name, path, variant, scenario);
    }
}

fn add<'a>(
    registry: &'a mut Registry,
    name: &str,
    path: Path,
    variant: Variant,
    scenario: fn(&mut Lab) -> Result<()>,
) -> &'a mut Case {
    registry.add(
        format!("decisions/{name}/{path}-{variant}"),
        move |module| scenario(&mut Lab::new(module, variant, path)?),
    )
}
