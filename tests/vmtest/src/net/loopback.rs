// SPDX-License-Identifier: GPL-2.0

//! Packets sent through `lo` whole, headers included.

use std::net::{IpAddr, SocketAddr};

use anyhow::{ensure, Context, Result};
use libc::IPPROTO_RAW;
use socket2::{Domain, Protocol, Socket, Type};

use crate::variant::Family;

pub struct RawSocket {
    socket: Socket,
}

impl RawSocket {
    pub fn new(family: Family) -> Result<Self> {
        let domain = match family {
            Family::Ipv4 => Domain::IPV4,
            Family::Ipv6 => Domain::IPV6,
        };
        // IPPROTO_RAW implies that the caller makes the IP header.
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))
            .context("a raw socket")?;
        Ok(Self { socket })
    }

    pub fn send(&self, packet: &[u8], to: IpAddr) -> Result<()> {
        // A port other than 0 would be taken as a protocol number.
        let sent = self
            .socket
            .send_to(packet, &SocketAddr::new(to, 0).into())
            .context("raw socket")?;
        ensure!(sent == packet.len(), "raw socket took {sent} bytes");
        Ok(())
    }
}
