// SPDX-License-Identifier: GPL-2.0

//! More connections than one client can have to one server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{bail, Result};

use super::address::{self, PORT};
use super::packet;
use crate::conntrack::Tuple;
use crate::variant::{Family, Path, Transport};

/// How many connections of one client go to one server.
const PORTS: u32 = 60_000;

/// Whose connections they are.
#[derive(Clone, Copy)]
pub enum Spread {
    /// All of them are of one client.
    OneKey,
    /// A thousand of them are of one client.
    ThousandEach,
    /// Each is of its own.
    OwnKey,
}

/// The connection with a number. Those of one client differ by the server's address, too, where
/// there are not ports enough.
pub fn connection(spread: Spread, number: u32) -> Result<Tuple> {
    let (client, server, port) = match spread {
        Spread::OneKey => (0, number / PORTS, number % PORTS),
        Spread::ThousandEach => (number / 1000, 0, number % 1000),
        Spread::OwnKey => (number, 0, 0),
    };
    let nth = |first: IpAddr, number: u32| match first {
        IpAddr::V4(first) => Ok(Ipv4Addr::from_bits(first.to_bits() + number)),
        IpAddr::V6(_) => bail!("not an IPv4 address: {first}"),
    };
    let client = nth(address::client(Family::Ipv4, Path::Wire, 1), client)?;
    let server = nth(address::server(Family::Ipv4, Path::Wire), server)?;
    Ok(Tuple {
        transport: Transport::Udp,
        source: SocketAddr::new(client.into(), u16::try_from(1024 + port)?),
        destination: SocketAddr::new(server.into(), PORT),
    })
}

/// Its first packet.
pub fn first_packet(spread: Spread, number: u32) -> Result<Vec<u8>> {
    let connection = connection(spread, number)?;
    packet::datagram(connection.source, connection.destination)
}
