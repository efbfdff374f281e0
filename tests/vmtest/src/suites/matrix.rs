// SPDX-License-Identifier: GPL-2.0

//! All combinations of mask, direction and sense of the rule, checked against a model that is too
//! simple to be wrong.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::{ensure, Context, Result};

use crate::conntrack::Tuple;
use crate::decision::Observed;
use crate::flow::Flow;
use crate::lab::Outside;
use crate::net::address::{self, flip_bit, PORT};
use crate::registry::Registry;
use crate::rules::{limit, Chain, Iptables, Limit, Ruleset};
use crate::variant::{Family, Module, Path, Variant};

const LIMIT: u32 = 2;

pub fn register(registry: &mut Registry) {
    for variant in Variant::all() {
        let masks: [u8; 4] = match variant.family {
            Family::Ipv4 => [0, 8, 24, 32],
            Family::Ipv6 => [0, 32, 64, 128],
        };
        for mask in masks {
            registry.add(format!("matrix/mask-{mask}/{variant}"), move |module| {
                Matrix::new(variant, mask)?.run(module)
            });
        }
    }
}

/// Both directions times both senses, one rule each.
fn rules(mask: u8) -> [Limit; 4] {
    let rule = limit(LIMIT).mask(mask);
    [rule, rule.upto(), rule.daddr(), rule.daddr().upto()]
}

/// The model: one connection is one tuple, and all of them live.
#[derive(Default)]
struct Model {
    connections: HashMap<(bool, u128), HashSet<(SocketAddr, SocketAddr)>>,
}

impl Model {
    fn matches(&mut self, rule: &Limit, tuple: &Tuple) -> bool {
        let address = if rule.daddr {
            tuple.destination
        } else {
            tuple.source
        };
        let mask = rule.mask.expect("all rules here have one");
        let connections = self
            .connections
            .entry((rule.daddr, address::masked(address.ip(), mask)))
            .or_default();
        connections.insert((tuple.source, tuple.destination));
        (connections.len() > LIMIT as usize) != rule.upto
    }
}

struct Matrix {
    variant: Variant,
    mask: u8,
    iptables: Iptables,
    outside: Outside,
    next_port: u16,
}

impl Matrix {
    fn new(variant: Variant, mask: u8) -> Result<Self> {
        let Variant {
            family,
            front_end,
            transport,
        } = variant;
        let iptables = Iptables { family, front_end };
        let rules = rules(mask).iter().fold(Ruleset::default(), |set, rule| {
            let line = format!("-p {transport} --dport {PORT} {}", rule.matches());
            set.filter(Chain::Input, line)
        });
        iptables.restore(&rules)?;
        Ok(Self {
            variant,
            mask,
            iptables,
            outside: Outside::new(family, transport, Path::Wire)?,
            next_port: 10_000,
        })
    }

    /// An address under the same key as this one, and, unless all are, one just outside.
    fn neighbours(&self, address: IpAddr) -> (IpAddr, Option<IpAddr>) {
        let width = address::width(self.variant.family);
        let inside = if self.mask < width {
            flip_bit(
                address,
                self.mask.max(address::free_bit(self.variant.family)),
            )
        } else {
            address
        };
        let outside = (self.mask > 0).then(|| flip_bit(address, self.mask - 1));
        (inside, outside)
    }

    fn run(&mut self, module: Module) -> Result<()> {
        let family = self.variant.family;
        let client = address::client(family, Path::Wire, 1);
        let server = address::server(family, Path::Wire);
        let mut model = Model::default();

        let (near, far) = self.neighbours(client);
        for from in [client, near, client].into_iter().chain(far) {
            self.compare(module, &mut model, from, server)?;
        }
        // A client of its own, so that both directions begin at nothing.
        let client = address::client(family, Path::Wire, 200);
        let server = flip_bit(server, address::free_bit(family));
        let (near, far) = self.neighbours(server);
        for to in [server, near, server].into_iter().chain(far) {
            self.compare(module, &mut model, client, to)?;
        }
        Ok(())
    }

    /// Opens one connection and compares the answers of all four rules with the model's.
    fn compare(
        &mut self,
        module: Module,
        model: &mut Model,
        from: IpAddr,
        to: IpAddr,
    ) -> Result<()> {
        self.next_port += 1;
        let flow = Flow::new(
            self.variant.transport,
            SocketAddr::new(from, self.next_port),
            SocketAddr::new(to, PORT),
        );
        let before = self.iptables.packets("filter", Chain::Input)?;
        self.outside.send(&flow.first()?, &flow)?;
        let after = self.iptables.packets("filter", Chain::Input)?;
        let rules = rules(self.mask);
        ensure!(after.len() == rules.len(), "{} rules", after.len());
        for (index, rule) in rules.iter().enumerate() {
            let counted = after[index].checked_sub(before[index]).context("fell")?;
            let what = format!("packets from {from} to {to} matched by {}", rule.matches());
            let expected = model.matches(rule, &flow.tuple);
            Observed::new(module, what, counted).is(expected.into())?;
        }
        Ok(())
    }
}
