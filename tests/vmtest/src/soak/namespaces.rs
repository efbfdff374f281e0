// SPDX-License-Identifier: GPL-2.0

//! Namespaces that die with rules and connections in them, while packets arrive.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::tally::{Tally, Work};
use super::watch::Watch;
use crate::net::address::PORT;
use crate::net::link;
use crate::net::netns::{self, Netns};
use crate::net::tcp::{Client, EchoServer};
use crate::rules::{limit, Chain, Iptables, Ruleset};
use crate::variant::{Family, FrontEnd};

const CONNECTIONS: u32 = 3;

pub fn run(front_end: FrontEnd, watch: &Watch, tally: &Tally) -> Result<()> {
    for turn in 0.. {
        if !watch.goes_on_or(turn == 0) {
            break;
        }
        one(front_end, tally)?;
    }
    Ok(())
}

fn one(front_end: FrontEnd, tally: &Tally) -> Result<()> {
    const ADDRESS: &str = "192.168.77.2";
    let iptables = Iptables {
        family: Family::Ipv4,
        front_end,
    };
    let rule = format!("{} -j DROP", limit(CONNECTIONS).matches());
    let rules = Ruleset::default().filter(Chain::Input, rule);
    // The device at this end goes some time after the other.
    netns::unshare()?;
    let victim = Netns::new()?;
    let near = link::addresses("near", &["192.168.77.1/24"]);
    link::ip(&(link::veth("near", "far", &victim) + &near))?;
    let address: IpAddr = ADDRESS.parse()?;
    victim.within(|| {
        link::ip(&link::addresses("far", &[&format!("{ADDRESS}/24")]))?;
        link::wait_until_running(&["far"])?;
        iptables.restore(&rules)
    })?;

    let server = EchoServer::start(&victim, (address, PORT).into())?;
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(None, server.address())?.connected("a client")?;
        client.echo().context("a client that is served")?;
        client.abort();
        tally.note(Work::RealConnection);
    }
    drop(server);

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood((address, PORT).into(), &stop));
        thread::sleep(Duration::from_millis(50));
        drop(victim);
        thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
    });
    tally.note(Work::Namespace);
    Ok(())
}

/// Datagrams, each of a connection of its own, until there is nobody to send them to and beyond.
fn flood(to: SocketAddr, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(socket) = UdpSocket::bind("0.0.0.0:0") {
            // Fails once the other end is gone, which is the point.
            let _ = socket.send_to(b"flood", to);
        }
        thread::yield_now();
    }
}
