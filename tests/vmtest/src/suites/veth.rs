// SPDX-License-Identifier: GPL-2.0

//! Real TCP connections, with data, between namespaces that are joined by veth pairs.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use crate::net::address::{self, PORT};
use crate::net::link;
use crate::net::netns::Netns;
use crate::net::tcp::{Client, EchoServer};
use crate::registry::Registry;
use crate::rules::{limit, Chain, Iptables, Ruleset, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Transport};

const LIMIT: u32 = 3;

pub fn register(registry: &mut Registry) {
    for chain in [Chain::Input, Chain::Forward, Chain::Output] {
        for family in Family::ALL {
            for front_end in FrontEnd::ALL {
                let name = chain.name().to_lowercase();
                let iptables = Iptables { family, front_end };
                registry.add(format!("veth/{name}/{family}-{front_end}"), move |_| {
                    limits_clients(chain, iptables)
                });
            }
        }
    }
}

/// A client's and a server's namespace, and one between them that forwards.
pub struct Network {
    pub client: Netns,
    pub router: Netns,
    pub server: Netns,
    pub addresses: [IpAddr; 2],
    address: SocketAddr,
}

impl Network {
    pub fn new(family: Family) -> Result<Self> {
        let (near, far) = match family {
            Family::Ipv4 => (
                ["10.1.0.2/24", "10.1.0.3/24", "10.1.0.1/24"],
                ["10.2.0.1/24", "10.2.0.2/24"],
            ),
            Family::Ipv6 => (
                ["fd01::2/64", "fd01::3/64", "fd01::1/64"],
                ["fd02::1/64", "fd02::2/64"],
            ),
        };
        let (client, router, server) = (Netns::new()?, Netns::new()?, Netns::new()?);
        for netns in [&client, &router, &server] {
            netns.within(link::trust_addresses)?;
        }
        let route = |gateway: &str| {
            let all = address::any(family);
            format!("route add {all}/0 via {}\n", without_prefix(gateway))
        };
        client.within(|| {
            link::ip(
                &[
                    link::veth("uplink", "clients", &router),
                    link::addresses("uplink", &near[..2]),
                    route(near[2]),
                ]
                .concat(),
            )
        })?;
        router.within(|| {
            link::forward(family)?;
            link::ip(
                &[
                    link::addresses("clients", &near[2..]),
                    link::veth("servers", "uplink", &server),
                    link::addresses("servers", &far[..1]),
                ]
                .concat(),
            )
        })?;
        server
            .within(|| link::ip(&[link::addresses("uplink", &far[1..]), route(far[0])].concat()))?;
        client.within(|| link::wait_until_running(&["uplink"]))?;
        router.within(|| link::wait_until_running(&["clients", "servers"]))?;
        server.within(|| link::wait_until_running(&["uplink"]))?;

        let address = SocketAddr::new(without_prefix(far[1]).parse()?, PORT);
        Ok(Self {
            address,
            addresses: [
                without_prefix(near[0]).parse()?,
                without_prefix(near[1]).parse()?,
            ],
            client,
            router,
            server,
        })
    }

    pub fn serve(&self) -> Result<EchoServer> {
        EchoServer::start(&self.server, self.address)
    }
}

fn without_prefix(address: &str) -> &str {
    address
        .split_once('/')
        .map_or(address, |(address, _)| address)
}

/// As many as the limit are served, the next is reset, another client is not concerned; all that
/// were served go on, and when one of them ends there is room for one more.
fn limits_clients(chain: Chain, iptables: Iptables) -> Result<()> {
    let network = Network::new(iptables.family)?;
    let rule = limit(LIMIT).syn().target(Target::Reject);
    let line = format!(
        "-p tcp --syn --dport {PORT} {}{}",
        rule.matches(),
        rule.jump(Transport::Tcp)
    );
    let place = match chain {
        Chain::Input => &network.server,
        Chain::Forward => &network.router,
        Chain::Output | Chain::Prerouting => &network.client,
    };
    let rules = Ruleset::default().filter(chain, &line);
    place.within(|| iptables.restore(&rules))?;

    let echo = network.serve()?;
    network.client.within(|| {
        let [first, second] = network.addresses;
        let to = echo.address();
        let open = |from| Client::connect(Some(from), to);
        let mut served = (0..LIMIT)
            .map(|number| open(first)?.connected(&format!("connection {number}")))
            .collect::<Result<Vec<_>>>()?;
        for _ in 0..2 {
            open(first)?.is_reset("one connection more than the limit")?;
        }
        served.push(open(second)?.connected("another client")?);
        for client in &mut served {
            client.echo()?;
        }

        served.remove(0).close()?;
        system::settle()?;
        served.push(open(first)?.connected("a connection in the place of one that ended")?);
        open(first)?.is_reset("one more again")?;
        served.remove(0).abort();
        system::settle()?;
        served.push(open(first)?.connected("a connection in the place of one that was reset")?);
        for client in &mut served {
            client.echo()?;
        }
        Ok(())
    })?;
    let refused = place.within(|| iptables.packets("filter", chain))?;
    anyhow::ensure!(refused == [3], "the rule has refused {refused:?} packets");
    Ok(())
}
