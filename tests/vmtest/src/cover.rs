// SPDX-License-Identifier: GPL-2.0

//! Fewer variants of each scenario, that still show every pair: each family with each front end and
//! each transport, and each front end with each transport. Of eight variants four are enough.

use std::collections::{HashMap, HashSet};

use crate::registry::Case;
use crate::variant::{Family, FrontEnd, Transport, Variant};

#[derive(PartialEq, Eq, Hash)]
enum Pair {
    FamilyFrontEnd(Family, FrontEnd),
    FrontEndTransport(FrontEnd, Transport),
    TransportFamily(Transport, Family),
}

fn pairs(variant: Variant) -> [Pair; 3] {
    let Variant {
        family,
        front_end,
        transport,
    } = variant;
    [
        Pair::FamilyFrontEnd(family, front_end),
        Pair::FrontEndTransport(front_end, transport),
        Pair::TransportFamily(transport, family),
    ]
}

/// Four of the eight, no two of which have a pair in common.
fn comes_first(variant: Variant) -> bool {
    (variant.family == Family::Ipv4)
        ^ (variant.front_end == FrontEnd::Legacy)
        ^ (variant.transport == Transport::Tcp)
}

/// The variant that a test's name tells, and the rest of the name.
fn split(name: &str) -> Option<(Variant, String)> {
    Variant::all().find_map(|variant| {
        let part = variant.to_string();
        name.contains(&part)
            .then(|| (variant, name.replace(&part, "")))
    })
}

/// Takes out the cases whose pairs others show.
pub fn retain(cases: &mut Vec<Case>) {
    let mut shown: HashMap<String, HashSet<Pair>> = HashMap::new();
    let mut redundant = HashSet::new();
    for first in [true, false] {
        for case in cases.iter() {
            let Some((variant, scenario)) = split(&case.name) else {
                continue;
            };
            if comes_first(variant) != first {
                continue;
            }
            let shown = shown.entry(scenario).or_default();
            let mut new = false;
            for pair in pairs(variant) {
                new |= shown.insert(pair);
            }
            if !new {
                redundant.insert(case.name.clone());
            }
        }
    }
    cases.retain(|case| !redundant.contains(&case.name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn retained(variants: impl Iterator<Item = Variant>) -> Vec<String> {
        let mut registry = Registry::default();
        for variant in variants {
            registry.add(format!("scenario/{variant}"), |_| Ok(()));
        }
        let mut cases = registry.into_cases();
        retain(&mut cases);
        cases.into_iter().map(|case| case.name).collect()
    }

    #[test]
    fn four_of_eight() {
        assert_eq!(
            retained(Variant::all()),
            [
                "scenario/ipv4-legacy-tcp",
                "scenario/ipv4-nft-udp",
                "scenario/ipv6-legacy-udp",
                "scenario/ipv6-nft-tcp",
            ]
        );
    }

    #[test]
    fn all_of_those_with_pairs_of_their_own() {
        assert_eq!(retained(Variant::tcp()).len(), 4);
        assert_eq!(retained(Variant::few()).len(), 4);
    }

    #[test]
    fn scenarios_do_not_show_for_each_other() {
        let mut registry = Registry::default();
        registry.add("a/ipv4-legacy-tcp", |_| Ok(()));
        registry.add("b/ipv4-legacy-tcp", |_| Ok(()));
        registry.add("without_variants", |_| Ok(()));
        let mut cases = registry.into_cases();
        retain(&mut cases);
        assert_eq!(cases.len(), 3);
    }
}
