// SPDX-License-Identifier: GPL-2.0

//! What a packet costs in the match, in instructions.
//!
//! Run where the clock counts instructions (`scripts/vm --icount`): a nanosecond is one. Each packet
//! goes through [`RULES`] identical rules, which have a table each; the same is measured with rules
//! that have no match, and the difference is divided by their number.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use crate::conntrack;
use crate::net::address::{self, PORT};
use crate::net::many::{self, Spread};
use crate::net::{link, netns, route, tun::Tun};
use crate::rules::{Chain, Iptables, Ruleset};
use crate::system;
use crate::variant::{Family, FrontEnd, Module};

/// How many rules a packet goes through, unless they are too slow.
const RULES: u32 = 8;

/// More than any case has.
const NO_LIMIT: u32 = 10_000_000;

/// How many packets are measured.
const PACKETS: u32 = 60;

/// How many refused attempts are.
const ATTEMPTS: u32 = 2000;

pub struct Bench {
    module: Module,
    tun: Tun,
    _server: UdpSocket,
}

/// What the packets of a case have cost, each.
struct Costs(Vec<u64>);

impl Costs {
    /// The mean without the dearest tenth: those have been interrupted.
    fn typical(&self) -> u64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.truncate(sorted.len() - sorted.len() / 10);
        sorted.iter().sum::<u64>() / (sorted.len() as u64).max(1)
    }

    /// The mean of all: also of those that do the work of others.
    fn mean(&self) -> u64 {
        self.0.iter().sum::<u64>() / (self.0.len() as u64).max(1)
    }

    fn worst(&self) -> u64 {
        self.0.iter().max().copied().unwrap_or_default()
    }
}

impl Bench {
    pub fn new(module: Module) -> Result<Self> {
        netns::unshare()?;
        let tun = Tun::new("tun0")?;
        route::set_up("tun0")?;
        route::add((address::any(Family::Ipv4), 0), "tun0")?;
        route::add_local(address::servers(Family::Ipv4))?;
        // Its buffer fills up, and then it drops what comes: that is the same for all.
        let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        for timeout in ["udp_timeout", "udp_timeout_stream"] {
            link::conntrack_timeout(timeout, 1_000_000)?;
        }
        Ok(Self {
            module,
            tun,
            _server: server,
        })
    }

    fn send(&self, spread: Spread, numbers: std::ops::Range<u32>) -> Result<()> {
        for number in numbers {
            self.tun.send(&many::first_packet(spread, number)?)?;
        }
        Ok(())
    }

    fn time(&self, packets: &[Vec<u8>], pause: Duration) -> Result<Costs> {
        let mut costs = Vec::new();
        for packet in packets {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let start = Instant::now();
            self.tun.send(packet)?;
            costs.push(u64::try_from(start.elapsed().as_nanos())?);
        }
        Ok(Costs(costs))
    }

    fn iptables() -> Iptables {
        Iptables {
            family: Family::Ipv4,
            front_end: FrontEnd::Legacy,
        }
    }

    /// Puts rules in place: `count` of them with `matches`, and one that drops what it matches.
    fn install(count: u32, matches: &str, last: Option<&str>) -> Result<()> {
        let selector = format!("-p udp --dport {PORT}");
        let mut rules = Ruleset::default();
        for _ in 0..count {
            rules = rules.filter(Chain::Input, format!("{selector} {matches}"));
        }
        if let Some(last) = last {
            rules = rules.filter(Chain::Input, format!("{selector} {last}"));
        }
        Self::iptables().restore(&rules)
    }

    fn clear(&self) -> Result<()> {
        Self::iptables().restore(&Ruleset::empty())?;
        conntrack::flush()
    }

    fn limit(limit: u32) -> String {
        format!("-m connlimit --connlimit-above {limit}")
    }

    /// New connections beside `live` others, one a jiffy.
    fn new_connections(&mut self, case: &str, spread: Spread, live: u32, rules: u32) -> Result<()> {
        const APART: Duration = Duration::from_millis(5);
        Self::install(rules, &Self::limit(NO_LIMIT), None)?;
        self.send(spread, 0..live)?;
        let fresh = |from: u32| -> Result<Vec<_>> {
            (from..from + PACKETS)
                .map(|n| many::first_packet(spread, n))
                .collect()
        };
        let with = self.time(&fresh(live)?, APART)?;
        Self::install(rules, "", None)?;
        let without = self.time(&fresh(live + PACKETS)?, APART)?;
        self.report(case, live, rules, &with, &without)?;
        self.clear()
    }

    /// Packets of one connection of many.
    fn established(&mut self, live: u32) -> Result<()> {
        Self::install(RULES, &Self::limit(NO_LIMIT), None)?;
        self.send(Spread::OneKey, 0..live)?;
        conntrack::assure(&many::connection(Spread::OneKey, live / 2)?)?;
        let packets: Vec<_> = (0..PACKETS)
            .map(|_| many::first_packet(Spread::OneKey, live / 2))
            .collect::<Result<_>>()?;
        let with = self.time(&packets, Duration::ZERO)?;
        Self::install(RULES, "", None)?;
        let without = self.time(&packets, Duration::ZERO)?;
        self.report("established", live, RULES, &with, &without)?;
        self.clear()
    }

    /// A flood of attempts of a client that has as many connections as it may have.
    fn refused(&mut self, limit: u32, rules: u32) -> Result<()> {
        let drop = format!("{} -j DROP", Self::limit(limit));
        Self::install(rules, &Self::limit(limit), Some(&drop))?;
        self.send(Spread::OneKey, 0..limit)?;
        let mut next = limit;
        let mut attempt = || -> Result<Costs> {
            let from = next;
            next += ATTEMPTS;
            let attempts = (from..next).map(|n| many::first_packet(Spread::OneKey, n));
            self.time(&attempts.collect::<Result<Vec<_>>>()?, Duration::ZERO)
        };
        // The first ones look up what nobody has looked at since it was added.
        attempt()?;
        let mut with = attempt()?;
        if self.module == Module::Rs {
            // What deferred work looks up, if that comes in between, is not the packets' cost.
            with = std::cmp::min_by_key(with, attempt()?, Costs::mean);
        }
        Self::install(rules, "", Some("-j DROP"))?;
        let without = attempt()?;
        self.report("refused", limit, rules, &with, &without)?;
        self.clear()
    }

    /// The memory of the match for so many connections: what is given back when its rules go.
    fn memory(&mut self, case: &str, spread: Spread, connections: u32) -> Result<()> {
        Self::install(RULES, &Self::limit(NO_LIMIT), None)?;
        let empty = slab()?;
        Self::install(RULES, "", None)?;
        let rules = empty.saturating_sub(slab()?);
        Self::install(RULES, &Self::limit(NO_LIMIT), None)?;
        self.send(spread, 0..connections)?;
        let with = slab()?;
        Self::install(RULES, "", None)?;
        let without = slab()?;
        let bytes = with.saturating_sub(without).saturating_sub(rules);
        let each = bytes as f64 / f64::from(RULES) / f64::from(connections);
        println!(
            "{{\"case\":\"{case}\",\"n\":{connections},\"rules\":{RULES},\"bytes\":{each:.1}}}"
        );
        self.clear()
    }

    /// Whether memory is given back when all connections have ended, and there is no traffic.
    fn given_back(&mut self, connections: u32) -> Result<()> {
        const MINUTE: Duration = Duration::from_secs(60);
        Self::install(RULES, &Self::limit(NO_LIMIT), None)?;
        let empty = slab()?;
        self.send(Spread::OwnKey, 0..connections)?;
        let full = slab()?;
        conntrack::flush()?;
        std::thread::sleep(MINUTE);
        let kept = slab()?.saturating_sub(empty);
        println!(
            "{{\"case\":\"kept_after_a_minute\",\"n\":{connections},\"rules\":{RULES},\"bytes\":{kept},\"before\":{}}}",
            full.saturating_sub(empty)
        );
        self.clear()
    }

    fn report(&self, case: &str, n: u32, rules: u32, with: &Costs, without: &Costs) -> Result<()> {
        ensure!(!with.0.is_empty() && !without.0.is_empty(), "no packets");
        let each =
            |with: u64, without: u64| (with as f64 - without as f64).max(0.0) / f64::from(rules);
        println!(
            "{{\"case\":\"{case}\",\"n\":{n},\"rules\":{rules},\"typical\":{:.0},\"mean\":{:.0},\"worst\":{:.0}}}",
            each(with.typical(), without.typical()),
            each(with.mean(), without.mean()),
            each(with.worst(), without.typical()),
        );
        Ok(())
    }

    /// Whether the cost is flat and memory is given back: less than a minute.
    pub fn short(mut self) -> Result<()> {
        for live in [10, 2000] {
            self.new_connections("new_one_key", Spread::OneKey, live, RULES)?;
            self.established(live)?;
        }
        self.given_back(2000)
    }

    /// All cases that the match can be expected to get through.
    pub fn full(mut self) -> Result<()> {
        let walks = self.module == Module::InTree;
        for (live, rules) in [(10, RULES), (1000, RULES), (20_000, 1), (100_000, RULES)] {
            // In-tree would take hours to get there.
            if !(walks && live > 20_000) {
                let rules = if walks { rules } else { RULES };
                self.new_connections("new_one_key", Spread::OneKey, live, rules)?;
            }
        }
        for (keys, rules) in [(1000, RULES), (100_000, RULES), (1_000_000, 1)] {
            let rules = if walks { rules } else { RULES };
            self.new_connections("new_own_key", Spread::OwnKey, keys, rules)?;
        }
        for live in [25, 200, 100_000] {
            if !(walks && live > 20_000) {
                self.established(live)?;
            }
        }
        for limit in [25, 10_000] {
            let rules = if walks && limit > 25 { 1 } else { RULES };
            self.refused(limit, rules)?;
        }
        self.memory("memory_thousand_each", Spread::ThousandEach, 100_000)?;
        self.memory("memory_own_key", Spread::OwnKey, 100_000)?;
        self.given_back(100_000)
    }
}

/// The kernel's memory in slabs, in bytes, once what is freed by RCU has been.
fn slab() -> Result<u64> {
    const A_WHILE: Duration = Duration::from_secs(2);
    std::thread::sleep(A_WHILE);
    system::run("sh", &["-c", "for cache in /sys/kernel/slab/kmalloc-*/shrink /sys/kernel/slab/nf_conn*/shrink; do echo 1 >$cache; done 2>/dev/null; true"], "")?;
    let info = std::fs::read_to_string("/proc/meminfo")?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("Slab:"))
        .context("no Slab in /proc/meminfo")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}
