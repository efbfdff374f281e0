// SPDX-License-Identifier: GPL-2.0

//! `iptables -L` and `iptables -S`.

use core::fmt;

use crate::options::Revision;
use crate::rule::{Comparison, Rule, Side};

/// For people: ` #conn src/32 > 10`.
pub struct Listed(pub Rule);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = &self.0;
        let side = match rule.side {
            Side::Source => "src",
            Side::Destination => "dst",
        };
        let comparison = match rule.comparison {
            Comparison::Upto => "<=",
            Comparison::Above => ">",
        };
        write!(f, " #conn {side}/{} {comparison} {}", rule.mask, rule.limit)
    }
}

/// As options that make the same rule.
pub struct Saved(pub Rule, pub Revision);

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Saved(rule, revision) = self;
        let comparison = match rule.comparison {
            Comparison::Upto => "upto",
            Comparison::Above => "above",
        };
        write!(f, " --connlimit-{comparison} {}", rule.limit)?;
        write!(f, " --connlimit-mask {}", rule.mask)?;
        match (revision, rule.side) {
            (Revision::Zero, _) => Ok(()),
            (Revision::One, Side::Source) => f.write_str(" --connlimit-saddr"),
            (Revision::One, Side::Destination) => f.write_str(" --connlimit-daddr"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::{self, Family};

    fn rule(mask: &str) -> Rule {
        Rule {
            family: Family::Ipv4,
            comparison: Comparison::Above,
            limit: 10,
            mask: mask::parse(Family::Ipv4, mask.as_bytes()).unwrap(),
            side: Side::Source,
        }
    }

    #[test]
    fn listed() {
        assert_eq!(Listed(rule("32")).to_string(), " #conn src/32 > 10");
        let other = Rule {
            comparison: Comparison::Upto,
            side: Side::Destination,
            ..rule("255.0.255.0")
        };
        assert_eq!(Listed(other).to_string(), " #conn dst/255.0.255.0 <= 10");
    }

    #[test]
    fn saved() {
        assert_eq!(
            Saved(rule("24"), Revision::One).to_string(),
            " --connlimit-above 10 --connlimit-mask 24 --connlimit-saddr"
        );
        assert_eq!(
            Saved(rule("24"), Revision::Zero).to_string(),
            " --connlimit-above 10 --connlimit-mask 24"
        );
        let other = Rule {
            comparison: Comparison::Upto,
            side: Side::Destination,
            ..rule("255.0.255.0")
        };
        assert_eq!(
            Saved(other, Revision::One).to_string(),
            " --connlimit-upto 10 --connlimit-mask 255.0.255.0 --connlimit-daddr"
        );
    }
}
