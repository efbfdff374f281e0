// SPDX-License-Identifier: GPL-2.0

//! How the packets of raw clients get to the server, and what comes back.

use std::time::Duration;

use anyhow::Result;

use crate::net::packet::Packet;
use crate::net::raw::Raw;
use crate::net::tun::Tun;

pub enum Wire {
    /// To the machine that the server is on.
    Direct(Tun),
    /// Through a router. The test is the wire between the router and the server.
    Routed {
        outside: Tun,
        inside: Tun,
        server: Tun,
        /// Where the clients are programs on the router, what they send by.
        here: Option<Raw>,
    },
}

impl Wire {
    /// Sends a packet of a client. Where there is a router, it is as far as its other side, and no
    /// further.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        match self {
            Wire::Routed {
                here: Some(here), ..
            } => here.send(packet),
            Wire::Direct(tun) | Wire::Routed { outside: tun, .. } => tun.send(packet),
        }
    }

    /// Carries to the server what the router has let through, if `passes` says so of it, and to the
    /// router what the server has sent.
    pub fn carry(&self, passes: impl Fn(&Packet) -> bool) -> Result<()> {
        let Wire::Routed { inside, server, .. } = self else {
            return Ok(());
        };
        loop {
            let mut idle = true;
            while let Some(bytes) = inside.read(Duration::ZERO)? {
                idle = false;
                if Packet::parse(&bytes).is_none_or(|packet| passes(&packet)) {
                    server.send(&bytes)?;
                }
            }
            while let Some(bytes) = server.read(Duration::ZERO)? {
                idle = false;
                inside.send(&bytes)?;
            }
            if idle {
                return Ok(());
            }
        }
    }

    /// The next packet for a client, if it comes in time.
    pub fn receive(&self, patience: Duration) -> Result<Option<Packet>> {
        self.carry(|_| true)?;
        match self {
            Wire::Direct(tun) | Wire::Routed { outside: tun, .. } => tun.receive(patience),
        }
    }
}
