// SPDX-License-Identifier: GPL-2.0

//! A client with real sockets, in a namespace of its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{ensure, Result};

use super::site::Site;
use crate::net::address::{self, PORT};
use crate::net::link;
use crate::net::netns::Netns;
use crate::net::tcp::Client;
use crate::variant::{Family, Path};

pub struct Victim {
    netns: Netns,
    pub address: IpAddr,
    connections: Vec<Client>,
}

impl Victim {
    /// The client of this number.
    pub fn new(site: &Site, number: u16) -> Result<Self> {
        let address = address::client(site.family, Path::Wire, number);
        let netns = Netns::new()?;
        let (here, there, gateway, length) = match site.family {
            Family::Ipv4 => ("10.9.0.1/24", "10.9.0.2/24", "10.9.0.1", 32),
            Family::Ipv6 => ("fe80::1/64", "fe80::2/64", "fe80::1", 128),
        };
        link::trust_addresses()?;
        netns.within(link::trust_addresses)?;
        let beyond = here.replace("1/", "2/");
        let beyond = beyond.split('/').next().unwrap_or_default();
        link::ip(
            &[
                link::veth("victim", "uplink", &netns),
                link::addresses("victim", &[here]),
                format!("route add {address}/{length} via {beyond} dev victim\n"),
            ]
            .concat(),
        )?;
        let any = address::any(site.family);
        netns.within(|| {
            link::ip(
                &[
                    link::addresses("uplink", &[there, &format!("{address}/{length}")]),
                    format!("route add {any}/0 via {gateway} dev uplink\n"),
                ]
                .concat(),
            )?;
            link::wait_until_running(&["uplink"])
        })?;
        link::wait_until_running(&["victim"])?;
        Ok(Self {
            netns,
            address,
            connections: Vec::new(),
        })
    }

    /// Opens so many connections.
    pub fn connect(&mut self, site: &mut Site, count: usize) -> Result<()> {
        let server = SocketAddr::new(address::server(site.family, Path::Wire), PORT);
        for _ in 0..count {
            let from = Some(self.address);
            let attempt = self.netns.within(|| Client::connect(from, server))?;
            self.connections.push(attempt.connected("the victim")?);
        }
        let open = self.count(&site.server.open()?);
        ensure!(
            open == self.connections.len(),
            "the server has {open} of the victim's {}",
            self.connections.len()
        );
        Ok(())
    }

    /// How many of these are its own.
    pub fn count(&self, open: &BTreeSet<SocketAddr>) -> usize {
        open.iter()
            .filter(|client| client.ip() == self.address)
            .count()
    }
}
