// SPDX-License-Identifier: GPL-2.0

//! A socket by which a namespace sends whole packets itself, whatever they say of their source.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use etherparse::IpSlice;
use socket2::{Domain, Protocol, Socket, Type};

use crate::variant::Family;

pub struct Raw(Socket);

impl Raw {
    /// Sends from the current namespace.
    pub fn new(family: Family) -> Result<Self> {
        let domain = match family {
            Family::Ipv4 => Domain::IPV4,
            Family::Ipv6 => Domain::IPV6,
        };
        let protocol = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).context("a raw socket")?;
        Ok(Self(socket))
    }

    pub fn send(&self, packet: &[u8]) -> Result<()> {
        let to: IpAddr = IpSlice::from_slice(packet)?.destination_addr();
        let sent = self.0.send_to(packet, &SocketAddr::new(to, 0).into());
        match sent {
            Ok(_) => Ok(()),
            // What a rule drops is told to who sends it.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            Err(error) => Err(error).context("a raw socket"),
        }
    }
}
