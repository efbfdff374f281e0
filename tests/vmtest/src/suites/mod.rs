// SPDX-License-Identifier: GPL-2.0

//! The tests.

mod abi;
mod autoload;
mod classic;
mod decisions;
pub mod evasion;
pub mod extension;
mod faults;
mod fuzz;
mod load;
mod lock_order;
mod matrix;
mod netns;
mod peers;
mod rules;
mod scale;
mod veth;
mod zones;

use crate::fuzz::Fuzzing;
use crate::registry::{Case, Registry};

pub fn all(fuzzing: Fuzzing) -> Vec<Case> {
    let mut registry = Registry::default();
    decisions::register(&mut registry);
    matrix::register(&mut registry);
    zones::register(&mut registry);
    evasion::register(&mut registry);
    netns::register(&mut registry);
    rules::register(&mut registry);
    veth::register(&mut registry);
    abi::register(&mut registry);
    classic::register(&mut registry);
    peers::register(&mut registry);
    autoload::register(&mut registry);
    extension::register(&mut registry);
    scale::register(&mut registry);
    load::register(&mut registry);
    faults::register(&mut registry);
    fuzz::register(&mut registry, fuzzing);
    lock_order::register(&mut registry);
    registry.into_cases()
}
