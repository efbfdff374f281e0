// SPDX-License-Identifier: GPL-2.0

//! Rules that come, go and stand side by side, and the module under them.

mod counts;
mod traffic;
mod unload;

use crate::registry::Registry;

pub fn register(registry: &mut Registry) {
    counts::register(registry);
    traffic::register(registry);
    unload::register(registry);
}
