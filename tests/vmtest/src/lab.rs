// SPDX-License-Identifier: GPL-2.0

//! A namespace with one connlimit rule in INPUT, and clients whose packets reach it one by one.

mod measure;
mod outside;

use std::net::SocketAddr;

use anyhow::{ensure, Result};

use crate::conntrack;
use crate::decision::Decision;
use crate::flow::Flow;
use crate::net::address::{self, PORT};
use crate::net::packet::Flags;
use crate::rules::{Chain, Iptables, Limit, Ruleset};
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
    /// The implementation that is loaded.
    pub fn module(&self) -> Module {
        self.module
    }

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

    fn gate(&mut self, rule: Limit, others: Ruleset, table: &'static str, chain: Chain) -> Ruleset {
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
    pub fn flow_of(&mut self, client: u16) -> Flow {
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
                self.outside.send(&flow.by_client(Flags::RST)?, flow)?;
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
        self.outside.send(&flow.by_client(Flags::ACK)?, flow)?;
        self.check_state(flow, "TIME_WAIT")?;
        self.settle()
    }

    /// The client's side alone says that it is done.
    pub fn half_close(&mut self, flow: &mut Flow) -> Result<()> {
        self.outside.send(&flow.by_client(Flags::FIN_ACK)?, flow)?;
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
}
