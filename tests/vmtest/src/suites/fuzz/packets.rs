// SPDX-License-Identifier: GPL-2.0

//! Packets of all kinds, malformed ones above all, come to a rule, while connections that it has let
//! in go on.

use std::net::IpAddr;

use anyhow::{bail, ensure, Context, Result};
use fastrand::Rng;

use super::VARIANTS;
use crate::conntrack;
use crate::decision::Verdict::{Over, Under};
use crate::flow::Flow;
use crate::fuzz::packet::Packets;
use crate::fuzz::parse::tells_connection;
use crate::fuzz::{Fuzzing, Hex};
use crate::lab::Lab;
use crate::net::address;
use crate::net::link;
use crate::net::netns::Netns;
use crate::net::tun::Tun;
use crate::rules::{limit, Chain, Ruleset, Target};
use crate::system;
use crate::variant::{Module, Path, Variant};

/// Where the rule is.
#[derive(Clone, Copy, Debug)]
struct Site {
    table: &'static str,
    chain: Chain,
    /// What comes before it in the table raw.
    before: Option<&'static str>,
    /// The zone in which conntrack has the connections, if it has them.
    zone: Option<u16>,
}

const fn site(table: &'static str, chain: Chain) -> Site {
    Site {
        table,
        chain,
        before: None,
        zone: Some(0),
    }
}

/// The same where conntrack has nothing of it.
const fn untracked(table: &'static str, chain: Chain) -> Site {
    Site {
        before: Some("-j CT --notrack"),
        zone: None,
        ..site(table, chain)
    }
}

const SITES: [Site; 9] = [
    site("raw", Chain::Prerouting),
    untracked("raw", Chain::Prerouting),
    Site {
        before: Some("-j CT --zone 7"),
        zone: Some(7),
        ..site("raw", Chain::Prerouting)
    },
    site("mangle", Chain::Prerouting),
    untracked("mangle", Chain::Prerouting),
    site("mangle", Chain::Forward),
    site("filter", Chain::Input),
    untracked("filter", Chain::Input),
    site("filter", Chain::Forward),
];

/// Counts errors about connections.
const RELATED: &str = "-m conntrack --ctstate RELATED";

const LIMIT: u32 = 2;
/// One whom no packet made by chance comes from.
const CLIENT: u16 = 0x1234;
/// Beyond the device.
const ELSEWHERE: u16 = 0x7777;

/// How many packets are made by chance in a round, about, and how many are sent between two looks at
/// the counters.
const PACKETS: usize = 600;
const BATCH: usize = 32;

pub fn fuzz(module: Module, variant: Variant, fuzzing: Fuzzing) -> Result<()> {
    let sites = u64::try_from(SITES.len())?;
    fuzzing.rounds(VARIANTS, sites, |seed| {
        let site = SITES[usize::try_from(seed % sites)?];
        let mut rng = Rng::with_seed(seed);
        let mut round = || Round::new(module, variant, site, &mut rng)?.run(&mut rng);
        Netns::new()?
            .within(&mut round)
            .with_context(|| format!("{site:?}"))
    })
}

/// What was sent: packets that tell a connection, and packets that do not. Those of which this is not
/// known are among both.
#[derive(Clone, Copy, Default, Debug)]
struct Sent {
    packets: u64,
    parsable: u64,
    unparsable: u64,
}

impl Sent {
    fn note(&mut self, packet: &[u8]) {
        let told = tells_connection(packet);
        self.packets += 1;
        self.parsable += u64::from(told != Some(false));
        self.unparsable += u64::from(told != Some(true));
    }

    fn add(&mut self, more: Self) {
        self.packets += more.packets;
        self.parsable += more.parsable;
        self.unparsable += more.unparsable;
    }
}

/// What the rules have counted: what came, what was over the limit, and what went on. The rest the match
/// has dropped.
#[derive(Clone, Copy, Default, Debug)]
struct Counted {
    came: u64,
    over: u64,
    went_on: u64,
}

impl Counted {
    fn between(before: [u64; 3], after: [u64; 3]) -> Self {
        let [came, over, went_on] = [0, 1, 2].map(|index| after[index] - before[index]);
        Self {
            came,
            over,
            went_on,
        }
    }

    fn add(&mut self, more: Self) {
        self.came += more.came;
        self.over += more.over;
        self.went_on += more.went_on;
    }

    fn answered(self) -> u64 {
        self.over + self.went_on
    }

    fn dropped(self) -> u64 {
        self.came.saturating_sub(self.answered())
    }

    /// Whether it can be so.
    fn is_of(self, sent: Sent) -> bool {
        self.came <= sent.packets
            && self.answered() <= sent.parsable
            && self.dropped() <= sent.unparsable
    }
}

struct Round {
    lab: Lab,
    tun: Tun,
    site: Site,
    /// Whether conntrack looks at the checksums of TCP, UDP and ICMP: few are right.
    checksums: bool,
    packets: Packets,
    client: IpAddr,
    admitted: [Flow; 2],
    refused: Flow,
    sent: Sent,
    counted: Counted,
}

impl Round {
    fn new(module: Module, variant: Variant, site: Site, rng: &mut Rng) -> Result<Self> {
        let family = variant.family;
        let mut lab = Lab::new(module, variant, Path::Wire)?;
        link::forward(family)?;
        let rule = limit(LIMIT).of("-i tun0").target(Target::Drop);
        let before = site.before.into_iter();
        let others = before.fold(
            Ruleset::default().append("mangle", Chain::Prerouting, RELATED),
            |rules, rule| rules.append("raw", Chain::Prerouting, rule),
        );
        lab.install_at(site.table, site.chain, rule, others)?;
        let checksums = rng.bool();
        let value = u8::from(checksums).to_string();
        link::sysctl("net/netfilter/nf_conntrack_checksum", &value)?;
        // Nothing that is not to end does.
        link::conntrack_timeout("udp_timeout", 600)?;

        let destination = match site.chain {
            Chain::Forward => address::client(family, Path::Wire, ELSEWHERE),
            _ => address::server(family, Path::Wire),
        };
        let mut flow = || {
            let mut flow = lab.flow_of(CLIENT);
            flow.tuple.destination.set_ip(destination);
            flow
        };
        let admitted = [flow(), flow()];
        let tracked = admitted.iter().map(Flow::first).collect::<Result<_>>()?;
        Ok(Self {
            refused: flow(),
            admitted,
            tun: lab.outside.tun()?,
            lab,
            site,
            checksums,
            packets: Packets::new(family, destination, tracked),
            client: address::client(family, Path::Wire, CLIENT),
            sent: Sent::default(),
            counted: Counted::default(),
        })
    }

    fn run(mut self, rng: &mut Rng) -> Result<u64> {
        self.goes_on()?;
        self.flood(&self.packets.corpus(rng))?;
        for _ in 0..2 {
            let packets: Vec<_> = (0..PACKETS / 2)
                .flat_map(|_| self.packets.make(rng))
                .collect();
            self.flood(&packets)?;
            self.goes_on()?;
        }
        self.check_reached()?;
        self.make_room()?;
        Ok(self.sent.packets)
    }

    /// The rule decides as if nothing else had come.
    fn goes_on(&mut self) -> Result<()> {
        let refused = match self.site.zone {
            Some(_) => Over,
            // What conntrack never gets to see is forgotten.
            None => Under,
        };
        let [a, b] = self.admitted.clone();
        for (flow, verdict) in [(a, Under), (b, Under), (self.refused.clone(), refused)] {
            system::settle()?;
            self.lab.open(&flow)?.is(verdict)?;
        }
        Ok(())
    }

    /// The end of a connection makes room for another.
    fn make_room(&mut self) -> Result<()> {
        let Some(zone) = self.site.zone else {
            return Ok(());
        };
        let [a, b] = self.admitted.clone();
        conntrack::delete_in_zone(&a.tuple, zone)?;
        system::settle()?;
        let refused = self.refused.clone();
        self.lab.open(&refused)?.is(Under)?;
        self.lab.again(&b)?.is(Under)?;
        self.lab.again(&a)?.is(Over)
    }

    fn flood(&mut self, packets: &[Vec<u8>]) -> Result<()> {
        system::settle()?;
        let start = self.lab.counters()?;
        let mut sent = Sent::default();
        let mut earlier = (start, Sent::default());
        for batch in packets.chunks(BATCH) {
            let before = self.lab.counters()?;
            let of_batch = self.send(batch)?;
            sent.add(of_batch);
            let (before_both, mut of_both) = std::mem::replace(&mut earlier, (before, of_batch));
            if Counted::between(before, self.lab.counters()?).is_of(of_batch) {
                continue;
            }
            // Unless a packet of the batch before came late, that is a mistake.
            system::settle()?;
            of_both.add(of_batch);
            let of_both_counted = Counted::between(before_both, self.lab.counters()?);
            if !of_both_counted.is_of(of_both) {
                self.send_each(batch)?;
                bail!("{of_both_counted:?} of {of_both:?}, but not again");
            }
        }
        system::settle()?;
        let counted = Counted::between(start, self.lab.counters()?);
        ensure!(counted.is_of(sent), "{counted:?} of {sent:?}");
        self.sent.add(sent);
        self.counted.add(counted);
        Ok(())
    }

    fn send(&self, packets: &[Vec<u8>]) -> Result<Sent> {
        let mut sent = Sent::default();
        for packet in packets.iter().filter(|packet| self.may_be_sent(packet)) {
            self.tun.send(packet)?;
            sent.note(packet);
        }
        Ok(sent)
    }

    /// The same again, to see which packet it was.
    fn send_each(&self, packets: &[Vec<u8>]) -> Result<()> {
        for packet in packets {
            system::settle()?;
            let before = self.lab.counters()?;
            let sent = self.send(std::slice::from_ref(packet))?;
            system::settle()?;
            let counted = Counted::between(before, self.lab.counters()?);
            ensure!(counted.is_of(sent), "{counted:?} of {}", Hex(packet));
        }
        Ok(())
    }

    /// The device takes IP only, and nobody else plays the client.
    fn may_be_sent(&self, packet: &[u8]) -> bool {
        let source = match (packet.first().map(|first| first >> 4), self.client) {
            (Some(4), IpAddr::V4(client)) => packet.get(12..16) == Some(&client.octets()),
            (Some(6), IpAddr::V6(client)) => packet.get(8..24) == Some(&client.octets()),
            (Some(4 | 6), _) => false,
            _ => true,
        };
        !source
    }

    /// Else nothing has been tried.
    fn check_reached(&self) -> Result<()> {
        let Counted {
            came,
            over,
            went_on,
        } = self.counted;
        ensure!(
            came * 2 >= self.sent.packets,
            "{came} of {:?} came",
            self.sent
        );
        let dropped = self.counted.dropped();
        ensure!(went_on > 0 && dropped > 0, "{:?}", self.counted);
        let counts = self.site.zone.is_some() && !self.checksums;
        ensure!(over > 0 || !counts, "{:?}", self.counted);
        let related = self.lab.iptables().packets("mangle", Chain::Prerouting)?;
        ensure!(
            related.first().is_some_and(|&related| related > 0) || !counts,
            "no packet was about a connection"
        );
        Ok(())
    }
}
