// SPDX-License-Identifier: GPL-2.0

//! The rule that everybody uses, without `--syn`, against real connections.

use std::net::{IpAddr, SocketAddr};

use anyhow::{ensure, Result};

use super::veth::Network;
use crate::net::address::{self, PORT};
use crate::net::netns::Netns;
use crate::net::route;
use crate::net::tcp::{Client, EchoServer};
use crate::registry::Registry;
use crate::rules::Iptables;
use crate::system;
use crate::variant::{Family, FrontEnd, Module, Path};

const RULE: &str = "-A INPUT -j REJECT --reject-with tcp-reset \
                    -m connlimit --connlimit-above 25 -p tcp --dport http";
const LIMIT: usize = 25;

pub fn register(registry: &mut Registry) {
    for path in [Path::Wire, Path::Loopback] {
        for family in Family::ALL {
            for front_end in FrontEnd::ALL {
                let iptables = Iptables { family, front_end };
                let mut add = |name: &str, scenario: fn(Module, &Site) -> Result<()>| {
                    let name = format!("classic/{name}/{path}-{family}-{front_end}");
                    registry.add(name, move |module| {
                        scenario(module, &Site::new(iptables, path)?)
                    });
                };
                add("serves_25", serves_25);
                add("retries", retries);
            }
        }
    }
}

/// A server behind the rule, and where its clients are.
struct Site {
    home: Netns,
    echo: EchoServer,
    clients: [IpAddr; 2],
    /// Holds the namespaces.
    _network: Option<Network>,
}

impl Site {
    fn new(iptables: Iptables, path: Path) -> Result<Self> {
        let family = iptables.family;
        match path {
            Path::Wire => {
                let network = Network::new(family)?;
                network.server.within(|| iptables.command(RULE))?;
                Ok(Self {
                    home: network.client.try_clone()?,
                    echo: network.serve()?,
                    clients: network.addresses,
                    _network: Some(network),
                })
            }
            Path::Loopback => {
                iptables.command(RULE)?;
                if family == Family::Ipv6 {
                    route::add_local(address::servers(family))?;
                }
                let home = Netns::current()?;
                let server = SocketAddr::new(address::server(family, path), PORT);
                Ok(Self {
                    echo: EchoServer::start(&home, server)?,
                    home,
                    clients: [1, 2].map(|number| address::client(family, path, number)),
                    _network: None,
                })
            }
        }
    }

    fn open(&self, client: usize, what: &str) -> Result<Client> {
        self.attempt(client)?.connected(what)
    }

    fn attempt(&self, client: usize) -> Result<crate::net::tcp::Attempt> {
        let from = Some(self.clients[client]);
        self.home
            .within(|| Client::connect(from, self.echo.address()))
    }

    fn open_25(&self) -> Result<Vec<Client>> {
        (1..=LIMIT)
            .map(|number| {
                let mut client = self.open(0, &format!("connection {number}"))?;
                client.echo()?;
                Ok(client)
            })
            .collect()
    }
}

/// 25 are served, the next is reset, another client is served meanwhile, and the first client is
/// again once it closes one. In-tree counts the refused attempt for a jiffy, hence the pauses.
fn serves_25(_: Module, site: &Site) -> Result<()> {
    let mut served = site.open_25()?;
    site.attempt(0)?.is_reset("connection 26")?;
    system::settle()?;
    site.open(1, "another client")?.echo()?;
    for client in &mut served {
        client.echo()?;
    }
    served.remove(7).close()?;
    system::settle()?;
    served.push(site.open(0, "connection 26, after one was closed")?);
    site.attempt(0)?.is_reset("connection 27")?;
    system::settle()?;
    for client in &mut served {
        client.echo()?;
    }
    Ok(())
}

/// A client that keeps asking for one more than it may have loses none of those that it has; with
/// the in-tree match, sooner or later it does.
fn retries(module: Module, site: &Site) -> Result<()> {
    const ATTEMPTS: usize = 300;
    const ROUNDS: usize = 2 * LIMIT;
    let mut served = site.open_25()?;
    match module {
        Module::Rs => {
            for round in 0..ROUNDS {
                site.attempt(0)?.is_reset("one connection more")?;
                served[round % LIMIT].echo()?;
            }
            for client in &mut served {
                client.echo()?;
            }
        }
        Module::InTree => {
            let lost = (0..ATTEMPTS).any(|round| {
                // With one lost there may be room for the next.
                let _ = site.attempt(0);
                served[round % LIMIT].echo().is_err()
            });
            ensure!(
                lost,
                "no connection is lost: RefusedAttemptsCounted makes no difference"
            );
        }
    }
    Ok(())
}
