// SPDX-License-Identifier: GPL-2.0

//! `iptables-translate`: the same in nft's language, which counts in a set.

use core::fmt;

use crate::mask::{Family, Mask};
use crate::rule::{Comparison, Rule, Side};

/// What declares the set with this number.
pub struct Set(pub Rule, pub u32);

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Set(rule, number) = self;
        let address = match rule.family {
            Family::Ipv4 => "ipv4_addr",
            Family::Ipv6 => "ipv6_addr",
        };
        write!(f, "connlimit{number} {{ type {address}; flags dynamic; }}")
    }
}

/// The statement that counts in it.
pub struct Statement(pub Rule, pub u32);

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statement(rule, number) = self;
        let header = match rule.family {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        };
        let address = match rule.side {
            Side::Source => "saddr",
            Side::Destination => "daddr",
        };
        write!(f, "add @connlimit{number} {{ {header} {address} ")?;
        if rule.mask != Mask::full(rule.family) {
            write!(f, "and {} ", rule.mask.netmask())?;
        }
        let over = match rule.comparison {
            Comparison::Upto => "",
            Comparison::Above => "over ",
        };
        write!(f, "ct count {over}{} }}", rule.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask;

    #[test]
    fn ipv4() {
        let rule = Rule {
            family: Family::Ipv4,
            comparison: Comparison::Upto,
            limit: 2,
            mask: mask::parse(Family::Ipv4, b"24").unwrap(),
            side: Side::Source,
        };
        assert_eq!(
            Set(rule, 0).to_string(),
            "connlimit0 { type ipv4_addr; flags dynamic; }"
        );
        assert_eq!(
            Statement(rule, 0).to_string(),
            "add @connlimit0 { ip saddr and 255.255.255.0 ct count 2 }"
        );
    }

    #[test]
    fn ipv6() {
        let rule = Rule {
            family: Family::Ipv6,
            comparison: Comparison::Above,
            limit: 2,
            mask: mask::parse(Family::Ipv6, b"128").unwrap(),
            side: Side::Destination,
        };
        assert_eq!(
            Set(rule, 7).to_string(),
            "connlimit7 { type ipv6_addr; flags dynamic; }"
        );
        assert_eq!(
            Statement(rule, 7).to_string(),
            "add @connlimit7 { ip6 daddr ct count over 2 }"
        );
    }
}
