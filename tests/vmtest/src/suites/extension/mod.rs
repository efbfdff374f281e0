// SPDX-License-Identifier: GPL-2.0

//! libxt_connlimit under the iptables of each release, beside the extension that came with it.

mod examples;
mod programs;
mod refused;
mod round_trip;
mod shapes;
mod stored;

use extension::Release;

use crate::registry::Registry;
use crate::variant::{Family, FrontEnd};

pub use programs::prepare;
use programs::Programs;

pub fn register(registry: &mut Registry) {
    for release in Release::ALL {
        for front_end in FrontEnd::ALL {
            for family in Family::ALL {
                let programs = Programs::new(release, front_end, family);
                let mut add = |name: &str, scenario: fn(Programs) -> anyhow::Result<()>| {
                    registry.add(format!("extension/{name}/{programs}"), move |_| {
                        scenario(programs)
                    });
                };
                add("stored", stored::run);
                add("shapes", shapes::run);
                add("refused", refused::run);
                add("round_trip", round_trip::run);
            }
        }
    }
    examples::register(registry);
}
