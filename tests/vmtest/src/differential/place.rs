// SPDX-License-Identifier: GPL-2.0

//! Where histories take place: a namespace with a rule, and both ends of its connections outside.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{bail, ensure, Context, Result};

use super::history::{Connection, History, Hook, Selector, Setting, TIMEOUTS};
use super::record::Tracked;
use crate::conntrack;
use crate::decision::Verdict;
use crate::net::address::{self, PORT};
use crate::net::loopback::RawSocket;
use crate::net::netns::Netns;
use crate::net::tun::Tun;
use crate::net::{link, route};
use crate::netlink::Netlink;
use crate::rules::legacy::{self, Table};
use crate::rules::{limit, Chain, Iptables, Limit, Ruleset, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Path, Transport};

/// Packets of both ends come in from these devices, which have a zone each where there are zones.
const ZONES: [&str; 2] = ["zone1", "zone2"];

/// All that is forwarded goes out there, and is lost.
const SINK: &str = "sink";

/// `XT_CONNLIMIT_INVERT` and `XT_CONNLIMIT_DADDR`.
const INVERT: u32 = 1;
const DADDR: u32 = 2;

pub struct Place {
    netns: Netns,
    entrance: Entrance,
    conntrack: Netlink,
    /// The tables that iptables has made of a ruleset.
    tables: HashMap<(Family, String), Vec<Table>>,
    gate: Gate,
    counted: [u64; 4],
}

/// How packets come in.
enum Entrance {
    Devices { zones: [Tun; 2], _sink: Tun },
    Loopback { ipv4: RawSocket, ipv6: RawSocket },
}

/// Four rules: one that counts all packets, and the rule in question between two that count what
/// comes to it and what it lets go on.
#[derive(Clone, Copy)]
struct Gate {
    family: Family,
    table: &'static str,
    chain: Chain,
    first: usize,
}

/// Whether the rule is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Before,
    Installed,
}

impl Place {
    pub fn new(path: Path) -> Result<Self> {
        let netns = Netns::new()?;
        netns.enter()?;
        let entrance = match path {
            Path::Wire => {
                let [first, second] = ZONES;
                let entrance = Entrance::Devices {
                    zones: [Tun::new(first)?, Tun::new(second)?],
                    _sink: Tun::new(SINK)?,
                };
                for device in [first, second, SINK] {
                    route::set_up(device)?;
                }
                for family in Family::ALL {
                    route::add((address::any(family), 0), SINK)?;
                    link::forward(family)?;
                }
                entrance
            }
            Path::Loopback => {
                route::add_local(address::servers(Family::Ipv6))?;
                Entrance::Loopback {
                    ipv4: RawSocket::new(Family::Ipv4)?,
                    ipv6: RawSocket::new(Family::Ipv6)?,
                }
            }
        };
        for (name, seconds) in TIMEOUTS {
            link::conntrack_timeout(name, seconds)?;
        }
        Ok(Self {
            netns,
            entrance,
            conntrack: Netlink::netfilter()?,
            tables: HashMap::new(),
            gate: Gate::new(Family::Ipv4, Hook::Forward, false),
            counted: [0; 4],
        })
    }

    /// Moves this thread there, where nothing has happened yet.
    pub fn enter(&mut self) -> Result<()> {
        self.netns.enter()?;
        conntrack::flush()
    }

    /// Puts the rules of a history in place, all anew.
    pub fn install(&mut self, history: &History, stage: Stage) -> Result<()> {
        let setting = &history.setting;
        let rules = ruleset(setting, history.rule.target, stage);
        let iptables = Iptables {
            family: setting.family,
            front_end: FrontEnd::Legacy,
        };
        let name = (setting.family, rules.to_string());
        if !self.tables.contains_key(&name) {
            iptables.restore(&rules)?;
            let tables = ["raw", "filter"].map(|table| Table::read(setting.family, table));
            let tables = tables.into_iter().collect::<Result<_>>()?;
            self.tables.insert(name.clone(), tables);
        }
        self.gate = Gate::new(setting.family, setting.hook, setting.zones);
        for table in self.tables.get_mut(&name).into_iter().flatten() {
            if stage == Stage::Installed && table.name() == self.gate.table {
                let (_, info) = table.match_info("connlimit")?;
                write_info(setting.family, &history.rule, info)?;
            }
            table.replace()?;
        }
        if stage == Stage::Installed {
            self.counted = self.gate.counters()?;
        }
        Ok(())
    }

    /// Sends a packet of a connection.
    pub fn send(&self, packet: &[u8], connection: &Connection, to: IpAddr) -> Result<()> {
        match &self.entrance {
            Entrance::Devices { zones, .. } => {
                zones[usize::from(connection.zone == 2)].send(packet)
            }
            Entrance::Loopback { ipv4, ipv6 } => match to {
                IpAddr::V4(_) => ipv4.send(packet, to),
                IpAddr::V6(_) => ipv6.send(packet, to),
            },
        }
    }

    /// The same, where the rule is. Returns what that decided, if it has seen the packet.
    pub fn send_and_decide(
        &mut self,
        packet: &[u8],
        connection: &Connection,
        to: IpAddr,
        rule: &Limit,
    ) -> Result<Option<Verdict>> {
        self.send(packet, connection, to)?;
        let before = self.counted;
        let mut now = before;
        system::wait_until("the packet arrives at the rules", || {
            now = self.gate.counters()?;
            Ok(now[0] > before[0])
        })?;
        self.counted = now;
        // On loopback, a reset that refuses the packet is among all.
        let delta = [1, 2, 3].map(|rule| now[rule] - before[rule]);
        let goes_on = u64::from(rule.target == Target::None);
        let matched = match delta {
            [0, 0, 0] => return Ok(None),
            [1, 1, passed] if passed == goes_on => true,
            [1, 0, 1] => false,
            [1, 0, 0] => return Ok(Some(Verdict::Dropped)),
            other => bail!("the rules counted {other:?}"),
        };
        Ok(Some(if matched != rule.upto {
            Verdict::Over
        } else {
            Verdict::Under
        }))
    }

    /// What conntrack has of a connection.
    pub fn tracked(&self, connection: &Connection) -> Result<Option<Tracked>> {
        let found = conntrack::get(&self.conntrack, &connection.tuple, connection.zone)?;
        Ok(found.map(|(state, assured)| Tracked { state, assured }))
    }
}

impl Gate {
    fn new(family: Family, hook: Hook, zones: bool) -> Self {
        let (table, chain) = match hook {
            Hook::Forward => ("filter", Chain::Forward),
            Hook::Input => ("filter", Chain::Input),
            Hook::Raw => ("raw", Chain::Prerouting),
        };
        let first = if hook == Hook::Raw && zones {
            ZONES.len()
        } else {
            0
        };
        Self {
            family,
            table,
            chain,
            first,
        }
    }

    fn counters(&self) -> Result<[u64; 4]> {
        let packets = legacy::packets(self.family, self.table, self.chain)?;
        packets
            .get(self.first..)
            .and_then(|rules| rules.first_chunk())
            .copied()
            .context("rules are missing")
    }
}

/// The rules of a history, but for what [`write_info`] writes.
fn ruleset(setting: &Setting, target: Target, stage: Stage) -> Ruleset {
    let transport = setting.transport;
    let Gate { table, chain, .. } = Gate::new(setting.family, setting.hook, setting.zones);
    let all = format!("-p {transport}");
    let selector = match setting.selector {
        Selector::All => all.clone(),
        Selector::Clients => format!("{all} --dport {PORT}"),
        Selector::Syn if transport == Transport::Tcp => {
            format!("{all} --dport {PORT} --syn")
        }
        Selector::Syn => format!("{all} --dport {PORT}"),
    };
    let mut rules = Ruleset::empty_tables(&["raw", "filter"]);
    if setting.zones {
        for (device, zone) in ZONES.iter().zip(1..) {
            let rule = format!("-i {device} -j CT --zone {zone}");
            rules = rules.append("raw", Chain::Prerouting, rule);
        }
    }
    rules = match stage {
        // Without a rule that needs it, conntrack looks at nothing.
        Stage::Before => rules.append("filter", Chain::Forward, "-m conntrack --ctstate NEW"),
        Stage::Installed => {
            let rule = limit(1);
            let jump = rule.target(target).jump(transport);
            rules
                .append(table, chain, &all)
                .append(table, chain, &selector)
                .append(table, chain, format!("{selector} {}{jump}", rule.matches()))
                .append(table, chain, &selector)
        }
    };
    if setting.hook == Hook::Input {
        // The kernel's own end, which knows nothing of these connections, must not answer.
        rules = rules.filter(Chain::Input, format!("{all} -j DROP"));
    }
    rules
}

/// `struct xt_connlimit_info`.
fn write_info(family: Family, rule: &Limit, info: &mut [u8]) -> Result<()> {
    let bits = u32::from(address::width(family));
    let prefix = rule.mask.map_or(bits, u32::from);
    let ones = |bits: u32| u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    let flags = if rule.upto { INVERT } else { 0 } | if rule.daddr { DADDR } else { 0 };
    ensure!(info.len() >= 24 && prefix <= bits);
    info[..16].copy_from_slice(&ones(prefix).to_be_bytes());
    info[16..20].copy_from_slice(&rule.limit.to_ne_bytes());
    info[20..24].copy_from_slice(&flags.to_ne_bytes());
    Ok(())
}
