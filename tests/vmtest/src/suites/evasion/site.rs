// SPDX-License-Identifier: GPL-2.0

//! A server behind a rule, and raw clients.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{ensure, Result};

use super::server::Server;
use super::wire::Wire;
use crate::net::address::{self, PORT};
use crate::net::link;
use crate::net::netns::Netns;
use crate::net::nfqueue::Queue;
use crate::net::packet::{Flags, Packet, Segment};
use crate::net::peer::Peer;
use crate::net::raw::Raw;
use crate::net::route;
use crate::net::tun::Tun;
use crate::rules::{Chain, Iptables, Limit, Ruleset};
use crate::system;
use crate::variant::{Family, Module, Path, Transport, Variant};

/// The limit of all rules here.
pub const LIMIT: usize = 5;

/// Where the rule is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the server's machine.
    Input,
    /// On a router, the server being a hop away.
    Forward,
    /// The same, with the clients on the router. What comes for them goes out on its other side.
    Output,
}

pub struct Site {
    pub module: Module,
    pub family: Family,
    pub iptables: Iptables,
    place: Place,
    pub wire: Wire,
    pub server: Server,
    /// Where the server is, if not here.
    pub far: Option<Netns>,
    /// A program that holds packets behind the rule.
    pub queue: Option<Queue>,
    next_port: u16,
}

impl Site {
    pub fn new(module: Module, variant: Variant, place: Place) -> Result<Self> {
        let family = variant.family;
        let address = SocketAddr::new(address::server(family, Path::Wire), PORT);
        // As usual, or longer where everything takes longer.
        let close = system::patience(Duration::from_secs(10)).as_secs();
        link::conntrack_timeout("tcp_timeout_close", close.try_into()?)?;
        // All clients are beyond the device.
        let clients = (address::any(family), 0);
        let outside = Tun::new("tun0")?;
        route::set_up("tun0")?;
        route::add(clients, "tun0")?;
        let listen = || {
            route::add_local(address::servers(family))?;
            // What clients leave behind is not to hold the namespace for minutes.
            link::sysctl("net/ipv4/tcp_orphan_retries", "1")?;
            Server::listen(address)
        };
        let (wire, server, far) = match place {
            Place::Input => (Wire::Direct(outside), listen()?, None),
            Place::Forward | Place::Output => {
                link::forward(family)?;
                let inside = Tun::new("tun1")?;
                route::set_up("tun1")?;
                route::add(address::servers(family), "tun1")?;
                let far = Netns::new()?;
                let (tun, server) = far.within(|| {
                    let tun = Tun::new("tun0")?;
                    route::set_up("tun0")?;
                    route::add(clients, "tun0")?;
                    Ok((tun, listen()?))
                })?;
                let wire = Wire::Routed {
                    outside,
                    inside,
                    server: tun,
                    here: match place {
                        Place::Output => Some(Raw::new(family)?),
                        Place::Input | Place::Forward => None,
                    },
                };
                (wire, server, Some(far))
            }
        };
        Ok(Self {
            module,
            family,
            iptables: Iptables {
                family,
                front_end: variant.front_end,
            },
            place,
            wire,
            server,
            far,
            queue: None,
            next_port: 10_000,
        })
    }

    pub fn chain(&self) -> Chain {
        match self.place {
            Place::Input => Chain::Input,
            Place::Forward => Chain::Forward,
            Place::Output => Chain::Output,
        }
    }

    /// The text of a rule for what comes to the server.
    pub fn rule(&self, rule: &Limit) -> String {
        let port = format!("-p tcp --dport {PORT}");
        let selector = rule.selector.unwrap_or(&port);
        let syn = if rule.syn { " --syn" } else { "" };
        let jump = rule.jump(Transport::Tcp);
        format!("{selector}{syn} {}{jump}", rule.matches())
    }

    /// Puts a rule in place, which remembers nothing.
    pub fn install(&self, rule: Limit) -> Result<()> {
        let rules = Ruleset::default().filter(self.chain(), self.rule(&rule));
        self.iptables.restore(&rules)
    }

    /// The same before conntrack.
    pub fn install_raw(&self, rule: Limit) -> Result<()> {
        let rules = Ruleset::default().append("raw", Chain::Prerouting, self.rule(&rule));
        self.iptables.restore(&rules)
    }

    /// A connection, not opened yet, of the client with this number.
    pub fn peer_of(&mut self, client: u16) -> Peer {
        self.next_port += 1;
        let address = |ip, port| SocketAddr::new(ip, port);
        Peer::new(
            address(
                address::client(self.family, Path::Wire, client),
                self.next_port,
            ),
            address(address::server(self.family, Path::Wire), PORT),
        )
    }

    pub fn peer(&mut self) -> Peer {
        self.peer_of(1)
    }

    pub fn send(&self, packet: &[u8]) -> Result<()> {
        self.wire.send(packet)
    }

    /// What comes for clients, until nothing more does.
    pub fn hear(&self) -> Result<Vec<(Segment, usize)>> {
        /// It is there already, but where softirqs are deferred to their kernel thread.
        const PATIENCE: Duration = Duration::from_millis(1);
        let mut heard = Vec::new();
        while let Some(packet) = self.wire.receive(PATIENCE)? {
            if let Packet::Tcp { segment, data } = packet {
                heard.push((segment, data));
            }
        }
        Ok(heard)
    }

    /// Sends the SYN of a new attempt. Returns whether the server has answered it.
    pub fn begin(&self, peer: &mut Peer) -> Result<bool> {
        self.send(&peer.syn()?)?;
        self.take_answer(peer)
    }

    /// Whether the server has answered a SYN by now.
    pub fn take_answer(&self, peer: &mut Peer) -> Result<bool> {
        let heard = self.hear()?;
        Ok(heard.iter().any(|(segment, _)| peer.takes_answer(segment)))
    }

    /// Sends a packet with nothing but these flags.
    pub fn say(&self, peer: &Peer, flags: Flags) -> Result<()> {
        self.send(&peer.packet(flags)?)?;
        self.wire.carry(|_| true)
    }

    /// Opens a connection, as far as it gets. Returns whether it is open at the server.
    pub fn open(&mut self, peer: &mut Peer) -> Result<bool> {
        if self.begin(peer)? {
            self.say(peer, Flags::ACK)?;
        }
        Ok(self.server.open()?.contains(&peer.from))
    }

    /// Opens one that the rule has room for.
    pub fn admit(&mut self, peer: &mut Peer) -> Result<()> {
        let open = self.open(peer)?;
        ensure!(open, "{} is not open at the server", peer.from);
        Ok(())
    }

    /// Opens so many that the rule has room for.
    pub fn admit_new(&mut self, count: usize) -> Result<Vec<Peer>> {
        (0..count)
            .map(|_| {
                let mut peer = self.peer();
                self.admit(&mut peer)?;
                Ok(peer)
            })
            .collect()
    }

    /// Ends a connection in the orderly way, the client first.
    pub fn shut_down(&mut self, peer: &mut Peer) -> Result<()> {
        self.say(peer, Flags::FIN_ACK)?;
        peer.next = peer.next.wrapping_add(1);
        self.server.finish(peer.from)?;
        let heard = self.hear()?;
        let fin = |(segment, _): &(Segment, usize)| segment.to == peer.from && segment.flags.fin;
        ensure!(heard.iter().any(fin), "the server sends no FIN");
        peer.awaited = peer.awaited.wrapping_add(1);
        self.say(peer, Flags::ACK)
    }

    /// Lets go on what a queue holds, if there is one.
    pub fn release(&mut self) -> Result<()> {
        if let Some(queue) = &mut self.queue {
            queue.release()?;
        }
        Ok(())
    }

    pub fn settle(&self) -> Result<()> {
        system::settle()
    }
}
