// SPDX-License-Identifier: GPL-2.0

//! Rules as text, in the language of iptables-restore.

use std::fmt;

use super::Chain;
use crate::variant::Transport;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Only counts: the packet goes on to the next rule.
    None,
    Drop,
    /// With a TCP reset, or port unreachable for others.
    Reject,
}

/// The options of a connlimit match and the target of its rule.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub limit: u32,
    /// `--connlimit-upto`, not `--connlimit-above`.
    pub upto: bool,
    pub mask: Option<u8>,
    pub daddr: bool,
    /// Only the first packets of TCP connections reach the match.
    pub syn: bool,
    /// Which packets reach the match, where that is not those to the server's port.
    pub selector: Option<&'static str>,
    pub target: Target,
}

/// `--connlimit-above LIMIT`
pub const fn limit(limit: u32) -> Limit {
    Limit {
        limit,
        upto: false,
        mask: None,
        daddr: false,
        syn: false,
        selector: None,
        target: Target::None,
    }
}

impl Limit {
    pub const fn target(self, target: Target) -> Self {
        Self { target, ..self }
    }

    pub const fn syn(self) -> Self {
        Self { syn: true, ..self }
    }

    pub const fn of(self, selector: &'static str) -> Self {
        Self {
            selector: Some(selector),
            ..self
        }
    }

    pub const fn upto(self) -> Self {
        Self { upto: true, ..self }
    }

    pub const fn daddr(self) -> Self {
        Self {
            daddr: true,
            ..self
        }
    }

    pub const fn mask(self, mask: u8) -> Self {
        Self {
            mask: Some(mask),
            ..self
        }
    }

    /// The match's own options.
    pub fn matches(&self) -> String {
        let direction = if self.upto { "upto" } else { "above" };
        let mut options = format!("-m connlimit --connlimit-{direction} {}", self.limit);
        if let Some(mask) = self.mask {
            options += &format!(" --connlimit-mask {mask}");
        }
        if self.daddr {
            options += " --connlimit-daddr";
        }
        options
    }

    pub fn jump(&self, transport: Transport) -> &'static str {
        match (self.target, transport) {
            (Target::None, _) => "",
            (Target::Drop, _) => " -j DROP",
            (Target::Reject, Transport::Tcp) => " -j REJECT --reject-with tcp-reset",
            (Target::Reject, Transport::Udp) => " -j REJECT",
        }
    }
}

/// Rules for one or more tables, in the order in which they were added.
#[derive(Clone, Default)]
pub struct Ruleset {
    tables: Vec<(&'static str, Vec<String>)>,
}

impl Ruleset {
    /// Appends a rule of the table `filter`.
    pub fn filter(self, chain: Chain, rule: impl fmt::Display) -> Self {
        self.append("filter", chain, rule)
    }

    pub fn append(mut self, table: &'static str, chain: Chain, rule: impl fmt::Display) -> Self {
        let line = format!("-A {} {rule}", chain.name());
        match self.tables.iter_mut().find(|(name, _)| *name == table) {
            Some((_, rules)) => rules.push(line),
            None => self.tables.push((table, vec![line])),
        }
        self
    }

    /// How many rules there are for a chain.
    pub fn rules(&self, table: &str, chain: Chain) -> usize {
        let prefix = format!("-A {} ", chain.name());
        self.tables
            .iter()
            .filter(|(name, _)| *name == table)
            .flat_map(|(_, rules)| rules)
            .filter(|rule| rule.starts_with(&prefix))
            .count()
    }

    /// A table `filter` without rules.
    pub fn empty() -> Self {
        Self::empty_tables(&["filter"])
    }

    pub fn empty_tables(names: &[&'static str]) -> Self {
        Self {
            tables: names.iter().map(|&name| (name, Vec::new())).collect(),
        }
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, rules) in &self.tables {
            writeln!(f, "*{table}")?;
            for rule in rules {
                writeln!(f, "{rule}")?;
            }
            writeln!(f, "COMMIT")?;
        }
        Ok(())
    }
}
