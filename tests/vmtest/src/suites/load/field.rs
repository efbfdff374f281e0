// SPDX-License-Identifier: GPL-2.0

//! Clients, a router with the rule, and servers, joined by veth pairs. What the clients send is seen,
//! or not, where the servers are: that is what was admitted, whoever says what.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::conntrack::Tuple;
use crate::net::address::{self, PORT};
use crate::net::link;
use crate::net::loopback::RawSocket;
use crate::net::packet;
use crate::rules::{limit, Chain, Iptables, Ruleset, Target};
use crate::suites::veth::Network;
use crate::variant::{Family, FrontEnd, Path, Transport};

pub const LIMIT: u16 = 25;

/// What is sent to this port is not tracked and always let through: when it arrives, so has all that
/// was sent before, if it ever will.
const MARKER: u16 = 9;

/// How many packets to send before looking at what arrives.
const BATCH: usize = 256;

/// The connection with this number of this source.
pub fn connection(source: u32, number: u16) -> Tuple {
    let first = Ipv4Addr::new(20, 0, 0, 1).to_bits();
    Tuple {
        transport: Transport::Udp,
        source: (Ipv4Addr::from_bits(first + source), 1024 + number).into(),
        destination: (address::server(Family::Ipv4, Path::Wire), PORT).into(),
    }
}

pub struct Field {
    network: Network,
    clients: RawSocket,
    servers: Socket,
    markers: u16,
}

impl Field {
    /// The rule is in place.
    pub fn new() -> Result<Self> {
        let network = Network::new(Family::Ipv4)?;
        network.router.within(|| {
            link::ip("route add 170.0.0.0/8 via 10.2.0.2\n")?;
            // Nothing of it expires by itself.
            link::conntrack_timeout("udp_timeout", 100_000)?;
            let rule = limit(LIMIT.into()).target(Target::Drop);
            let rules = Ruleset::default()
                .append(
                    "raw",
                    Chain::Prerouting,
                    format!("-p udp --dport {MARKER} -j CT --notrack"),
                )
                .filter(
                    Chain::Forward,
                    format!("-p udp --dport {PORT} {} -j DROP", rule.matches()),
                );
            IPTABLES.restore(&rules)
        })?;
        let clients = network.client.within(|| RawSocket::new(Family::Ipv4))?;
        let servers = network.server.within(observer)?;
        let mut field = Self {
            network,
            clients,
            servers,
            markers: 0,
        };
        // Only so many packets wait until both ends of a link know each other.
        field.arrivals()?;
        Ok(field)
    }

    pub fn in_router<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.network.router.within(work)
    }

    /// How many packets the rule has refused.
    pub fn refused(&self) -> Result<u64> {
        let packets = self.in_router(|| IPTABLES.packets("filter", Chain::Forward))?;
        packets.first().copied().context("there is no rule")
    }

    /// Sends a packet of each connection, and tells of each whether it has arrived.
    pub fn pass(&mut self, connections: &[Tuple]) -> Result<Vec<bool>> {
        let mut arrived = Vec::with_capacity(connections.len());
        for batch in connections.chunks(BATCH) {
            for connection in batch {
                let packet = packet::datagram(connection.source, connection.destination)?;
                self.clients.send(&packet, connection.destination.ip())?;
            }
            let seen = self.arrivals()?;
            let mut known = 0;
            for connection in batch {
                let has = seen.contains(&connection.source);
                known += usize::from(has);
                arrived.push(has);
            }
            ensure!(
                known == seen.len(),
                "what was not sent has arrived: {seen:?}"
            );
        }
        Ok(arrived)
    }

    /// The sources of what has arrived by now.
    fn arrivals(&mut self) -> Result<HashSet<SocketAddr>> {
        const PATIENCE: Duration = Duration::from_secs(10);
        /// A marker may be lost where memory is.
        const RETRY: Duration = Duration::from_millis(200);
        let mut seen = HashSet::new();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            self.markers = self.markers.wrapping_add(1);
            let from = connection(0, 0).source.ip();
            let to = connection(0, 0).destination.ip();
            let marker = packet::datagram((from, self.markers).into(), (to, MARKER).into())?;
            self.clients.send(&marker, to)?;
            let sent = Instant::now();
            while sent.elapsed() < RETRY {
                match self.receive()? {
                    None => std::thread::yield_now(),
                    Some((marker, MARKER)) if marker.port() == self.markers => return Ok(seen),
                    // One that was given up.
                    Some((_, MARKER)) => {}
                    Some((source, _)) => drop(seen.insert(source)),
                }
            }
        }
        bail!("no marker has arrived in {PATIENCE:?}")
    }

    /// The source and the destination port of a datagram that has arrived.
    fn receive(&self) -> Result<Option<(SocketAddr, u16)>> {
        const HEADERS: usize = 28;
        let mut bytes = [0; HEADERS];
        match (&self.servers).read(&mut bytes) {
            Ok(length) => ensure!(length == HEADERS, "a packet of {length} bytes"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let source: [u8; 4] = bytes[12..16].try_into()?;
        Ok(Some(((IpAddr::from(source), word(20)).into(), word(22))))
    }
}

const IPTABLES: Iptables = Iptables {
    family: Family::Ipv4,
    front_end: FrontEnd::Legacy,
};

/// A socket that gets all IPv4 packets of the current namespace, from their IP header on.
fn observer() -> Result<Socket> {
    /// Room for a batch, whatever the kernel counts for a packet.
    const ROOM: usize = 4 << 20;
    let protocol = u16::try_from(libc::ETH_P_IP)?.to_be();
    let socket = Socket::new(
        Domain::PACKET,
        Type::DGRAM,
        Some(Protocol::from(i32::from(protocol))),
    )?;
    socket.set_nonblocking(true)?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &ROOM)?;
    Ok(socket)
}
