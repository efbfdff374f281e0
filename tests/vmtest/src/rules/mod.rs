// SPDX-License-Identifier: GPL-2.0

//! Rules of the current network namespace: set by the stock programs, read back from the kernel
//! itself, as starting a program for each look at a counter would take most of the time.

pub mod blob;
pub mod legacy;
pub mod nft;
pub mod ruleset;

use std::fs;

use anyhow::Result;
use nix::unistd::gettid;

use crate::system;
use crate::variant::{Family, FrontEnd};

pub use ruleset::{limit, Limit, Ruleset, Target};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    Prerouting,
    Input,
    Forward,
    Output,
}

impl Chain {
    pub fn name(self) -> &'static str {
        match self {
            Chain::Prerouting => "PREROUTING",
            Chain::Input => "INPUT",
            Chain::Forward => "FORWARD",
            Chain::Output => "OUTPUT",
        }
    }

    /// The number of the hook, as in `NF_INET_*`.
    pub fn hook(self) -> usize {
        match self {
            Chain::Prerouting => 0,
            Chain::Input => 1,
            Chain::Forward => 2,
            Chain::Output => 3,
        }
    }
}

/// One of the four stock programs, iptables-legacy to ip6tables-nft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iptables {
    pub family: Family,
    pub front_end: FrontEnd,
}

impl Iptables {
    pub fn name(self) -> String {
        let family = match self.family {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        };
        format!("{family}tables-{}", self.front_end)
    }

    /// Replaces the rules of all tables that `rules` mentions.
    pub fn restore(self, rules: &Ruleset) -> Result<()> {
        self.start(&format!("{}-restore", self.name()), &[], &rules.to_string())
            .map(drop)
    }

    /// Replaces the rules of a table by what [`Self::save`] has told, counters included.
    pub fn restore_saved(self, saved: &str) -> Result<()> {
        self.start(&format!("{}-restore", self.name()), &["-c"], saved)
            .map(drop)
    }

    /// Runs the program itself, with the arguments that `line` holds.
    pub fn command(self, line: &str) -> Result<String> {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        self.start(&self.name(), &arguments, "")
    }

    /// The rules of one table with their counters, as text.
    pub fn save(self, table: &str) -> Result<String> {
        self.start(&format!("{}-save", self.name()), &["-c", "-t", table], "")
    }

    /// How many packets each rule of a chain has matched.
    pub fn packets(self, table: &str, chain: Chain) -> Result<Vec<u64>> {
        match self.front_end {
            FrontEnd::Legacy => legacy::packets(self.family, table, chain),
            FrontEnd::Nft => nft::packets(self.family, table, chain),
        }
    }

    fn start(self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        // Namespaces have nothing to do with each other, but share the lock file by default.
        let lock = format!("/run/xtables-{}.lock", gettid());
        let output =
            system::run_with_env(program, arguments, input, &[("XTABLES_LOCKFILE", &lock)]);
        // Only iptables-legacy makes one.
        let _ = fs::remove_file(&lock);
        output
    }
}
