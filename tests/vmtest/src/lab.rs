// SPDX-License-Identifier: GPL-2.0

//! A namespace with one connlimit rule in INPUT, and clients whose packets reach it one by one.

mod outside;

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anyhow::{bail, ensure, Context, Result};

use crate::conntrack;
use crate::decision::{Decision, Observed, Series, Verdict};
use crate::flow::Flow;
use crate::net::address::{self, PORT};
use crate::net::packet::Flags;
use crate::rules::{Chain, Iptables, Limit, Ruleset, Target};
use crate::system;
use crate::variant::{Module, Path, Transport, Variant};

pub use outside::{Outside, Reply};

/// Where the three rules are.
#[derive(Clone, Copy)]
struct Place {
    table: &'static str,
    chain: Chain,
    first: usize,
}

pub struct Lab {
    module: Module,
    variant: Variant,
    path: Path,
    iptables: Iptables,
    pub outside: Outside,
    rule: Option<Limit>,
    place: Place,
    next_port: u16,
}

impl Lab {
    pub fn new(module: Module, variant: Variant, path: Path) -> Result<Self> {
        Ok(Self {
            module,
            variant,
            path,
            iptables: Iptables {
                family: variant.family,
                front_end: variant.front_end,
            },
            outside: Outside::new(variant.family, variant.transport, path)?,
            rule: None,
            place: Place {
                table: "filter",
                chain: Chain::Input,
                first: 0,
            },
            next_port: 10_000,
        })
    }

    pub fn path(&self) -> Path {
        self.path
    }

    pub fn iptables(&self) -> Iptables {
        self.iptables
    }

    fn selector(&self, rule: &Limit) -> String {
        if let Some(selector) = rule.selector {
            return selector.to_owned();
        }
        let syn = if rule.syn && self.variant.transport == Transport::Tcp {
            " --syn"
        } else {
            ""
        };
        format!("-p {} --dport {PORT}{syn}", self.variant.transport)
    }

    /// Ends the chain INPUT: on loopback the test plays both ends, and the kernel's own, which
    /// knows nothing of these connections, must not answer.
    fn close_chain(&self, rules: Ruleset) -> Ruleset {
        match self.path {
            Path::Wire => rules,
            Path::Loopback => rules.filter(
                Chain::Input,
                format!("-p {} -j DROP", self.variant.transport),
            ),
        }
    }

    /// Lets conntrack see what happens, while there is no connlimit rule yet.
    pub fn track(&self) -> Result<()> {
        let rules = Ruleset::default().filter(Chain::Input, "-m conntrack --ctstate NEW");
        self.iptables.restore(&self.close_chain(rules))
    }

    /// Puts one connlimit rule in place, between two that count what comes to it and what it
    /// lets go on.
    pub fn install(&mut self, rule: Limit) -> Result<()> {
        self.install_with(rule, Ruleset::default())
    }

    /// The same, with one more rule, for the same packets, at the end.
    pub fn install_before(&mut self, rule: Limit, then: &str) -> Result<()> {
        let last = format!("{} {then}", self.selector(&rule));
        let rules = self.gate(rule, Ruleset::default(), "filter", Chain::Input);
        self.put(rule, rules.filter(Chain::Input, last))
    }

    /// The same, with rules for other chains.
    pub fn install_with(&mut self, rule: Limit, others: Ruleset) -> Result<()> {
        let rules = self.gate(rule, others, "filter", Chain::Input);
        self.put(rule, rules)
    }

    /// The same in another place, where rules of that chain that come before are in `others`.
    pub fn install_at(
        &mut self,
        table: &'static str,
        chain: Chain,
        rule: Limit,
        others: Ruleset,
    ) -> Result<()> {
        let rules = self.gate(rule, others, table, chain);
        self.put(rule, rules)
    }

    fn gate(
        &mut self,
        rule: Limit,
        others: Ruleset,
        table: &'static str,
        chain: Chain,
    ) -> Ruleset {
        let selector = self.selector(&rule);
        let jump = rule.jump(self.variant.transport);
        self.place = Place {
            table,
            chain,
            first: others.rules(table, chain),
        };
        others
            .append(table, chain, &selector)
            .append(table, chain, format!("{selector} {}{jump}", rule.matches()))
            .append(table, chain, &selector)
    }

    fn put(&mut self, rule: Limit, rules: Ruleset) -> Result<()> {
        self.iptables.restore(&self.close_chain(rules))?;
        self.rule = Some(rule);
        Ok(())
    }

    /// A connection, not opened yet, of the client with this number.
    pub fn flow_of(&mut self, client: u8) -> Flow {
        let family = self.variant.family;
        self.next_port += 1;
        Flow::new(
            self.variant.transport,
            SocketAddr::new(address::client(family, self.path, client), self.next_port),
            SocketAddr::new(address::server(family, self.path), PORT),
        )
    }

    /// Connections of one client.
    pub fn flows<const N: usize>(&mut self) -> [Flow; N] {
        std::array::from_fn(|_| self.flow_of(1))
    }

    /// The first packet of a connection.
    pub fn open(&mut self, flow: &Flow) -> Result<Decision> {
        self.decide("first packet", flow, &flow.first()?)
    }

    /// The same packet once more.
    pub fn again(&mut self, flow: &Flow) -> Result<Decision> {
        self.decide("first packet again", flow, &flow.first()?)
    }

    /// Another packet of the client.
    pub fn data(&mut self, flow: &Flow) -> Result<Decision> {
        self.decide("later packet", flow, &flow.later()?)
    }

    /// The server's answer.
    pub fn answer(&mut self, flow: &mut Flow) -> Result<()> {
        self.outside.answer(flow)
    }

    /// The server's answer and what makes the connection assured: for TCP the third packet of
    /// the handshake, whose verdict this returns.
    pub fn establish(&mut self, flow: &mut Flow) -> Result<Decision> {
        self.answer(flow)?;
        if self.variant.transport == Transport::Udp {
            conntrack::assure(&flow.tuple)?;
        }
        let decision = self.decide("packet that answers", flow, &flow.later()?)?;
        self.check_assured(flow)?;
        Ok(decision)
    }

    /// Makes the connection assured without a packet that the rule sees, which needs a rule with
    /// `--syn` where the transport is TCP.
    pub fn establish_unseen(&mut self, flow: &mut Flow) -> Result<()> {
        self.answer(flow)?;
        match self.variant.transport {
            Transport::Tcp => self.outside.send(&flow.later()?, flow)?,
            Transport::Udp => conntrack::assure(&flow.tuple)?,
        }
        self.check_assured(flow)
    }

    fn check_assured(&self, flow: &Flow) -> Result<()> {
        let entry = conntrack::find(&flow.tuple)?;
        ensure!(
            entry.as_ref().is_some_and(|entry| entry.assured),
            "not assured: {entry:?}"
        );
        Ok(())
    }

    /// Ends a connection at once: by a reset, or by taking it out of conntrack.
    pub fn close(&mut self, flow: &Flow) -> Result<()> {
        match self.variant.transport {
            Transport::Tcp => {
                self.outside.send(&flow.from_client(Flags::RST)?, flow)?;
                // Conntrack drops one that was never answered.
                let entry = conntrack::find(&flow.tuple)?;
                ensure!(
                    entry.as_ref().is_none_or(|entry| entry.state == "CLOSE"),
                    "still there after a reset: {entry:?}"
                );
            }
            Transport::Udp => conntrack::delete(&flow.tuple)?,
        }
        self.settle()
    }

    /// Ends a TCP connection in the orderly way.
    pub fn shut_down(&mut self, flow: &mut Flow) -> Result<()> {
        self.half_close(flow)?;
        self.outside.finish(flow)?;
        self.outside.send(&flow.from_client(Flags::ACK)?, flow)?;
        self.check_state(flow, "TIME_WAIT")?;
        self.settle()
    }

    /// The client's side alone says that it is done.
    pub fn half_close(&mut self, flow: &mut Flow) -> Result<()> {
        self.outside.send(&flow.from_client(Flags::FIN_ACK)?, flow)?;
        flow.client_next += 1;
        Ok(())
    }

    /// Checks that the test has brought about what it means to test.
    pub fn check_state(&self, flow: &Flow, want: &str) -> Result<()> {
        let entry = conntrack::find(&flow.tuple)?;
        let state = entry.map(|entry| entry.state);
        ensure!(
            state.as_deref() == Some(want),
            "conntrack has {state:?}, not {want}, for {:?}",
            flow.tuple
        );
        Ok(())
    }

    pub fn check_tracked(&self, flow: &Flow, want: bool) -> Result<()> {
        let tracked = conntrack::find(&flow.tuple)?.is_some();
        ensure!(
            tracked == want,
            "conntrack has {:?}: {tracked}, not {want}",
            flow.tuple
        );
        Ok(())
    }

    pub fn settle(&self) -> Result<()> {
        system::settle()
    }

    /// The verdict on one packet, read from the counters of the three rules.
    pub fn decide(&mut self, what: &str, flow: &Flow, packet: &[u8]) -> Result<Decision> {
        self.decide_by(what, flow, |outside| outside.send(packet, flow))
    }

    /// The verdict on one packet that `send` sends.
    pub fn decide_by(
        &mut self,
        what: &str,
        flow: &Flow,
        send: impl FnOnce(&mut Outside) -> Result<()>,
    ) -> Result<Decision> {
        let rule = self.rule.context("no rule is installed")?;
        let before = self.counters()?;
        send(&mut self.outside)?;
        let delta = self.count_since(before, 1)?;
        let goes_on = u64::from(rule.target == Target::None);
        let matched = match delta {
            [1, 1, passed] if passed == goes_on => true,
            [1, 0, 1] => false,
            [1, 0, 0] => return Ok(self.decision(what, flow, Verdict::Dropped)),
            other => bail!("{what}: the three rules counted {other:?}"),
        };
        let verdict = if matched != rule.upto {
            Verdict::Over
        } else {
            Verdict::Under
        };
        Ok(self.decision(what, flow, verdict))
    }

    fn decision(&self, what: &str, flow: &Flow, verdict: Verdict) -> Decision {
        Observed::new(
            self.module,
            format!("{what} from {}", flow.tuple.source),
            verdict,
        )
    }

    pub fn observe<T: std::fmt::Debug + PartialEq>(&self, what: &str, got: T) -> Observed<T> {
        Observed::new(self.module, what, got)
    }

    /// Repeats an attempt, each time for another client, until it was conclusive a few times.
    pub fn repeat<T: std::fmt::Debug + PartialEq + Clone>(
        &mut self,
        what: &str,
        clients: RangeInclusive<u8>,
        mut attempt: impl FnMut(&mut Self, u8) -> Result<Option<T>>,
    ) -> Result<Series<T>> {
        const TIMES: usize = 3;
        let mut values = Vec::new();
        for client in clients {
            if let Some(value) = attempt(self, client)? {
                values.push(self.observe(what, value));
            }
            if values.len() == TIMES {
                return Ok(Series::new(values));
            }
        }
        bail!("{what}: no attempt was in time: this machine is too slow")
    }

    /// Sends two packets, on the CPUs given, and returns how many the rule has matched, if both
    /// came within one jiffy.
    pub fn matched_in_one_jiffy(
        &mut self,
        cpus: [usize; 2],
        packets: [&[u8]; 2],
    ) -> Result<Option<u64>> {
        let tun = self.outside.tun()?;
        let before = self.counters()?;
        let in_time = system::in_turn_within_one_jiffy(cpus, |turn| tun.send(packets[turn]))?;
        let [arrived, matched, _] = self.count_since(before, 2)?;
        ensure!(arrived == 2, "{arrived} packets arrived");
        Ok(in_time.then_some(matched))
    }

    /// What the three rules have counted since `before`, once `packets` have arrived.
    pub fn count_since(&self, before: [u64; 3], packets: u64) -> Result<[u64; 3]> {
        let mut now = before;
        // Only where softirqs are deferred to their kernel thread is there anything to wait for.
        system::wait_until("packets arrive at the rule", || {
            now = self.counters()?;
            Ok(now[0] >= before[0] + packets)
        })?;
        Ok([0, 1, 2].map(|index| now[index] - before[index]))
    }

    pub fn counters(&self) -> Result<[u64; 3]> {
        let Place {
            table,
            chain,
            first,
        } = self.place;
        let packets = self.iptables.packets(table, chain)?;
        packets
            .get(first..)
            .and_then(|rules| rules.first_chunk())
            .copied()
            .with_context(|| format!("{} has {} rules", chain.name(), packets.len()))
    }
}
