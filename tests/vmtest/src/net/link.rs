// SPDX-License-Identifier: GPL-2.0

//! Devices, addresses and routes, by iproute2.

use std::fs;

use anyhow::{Context, Result};

use super::netns::Netns;
use crate::system;
use crate::variant::Family;

/// Runs commands of `ip`, one a line, in one process: starting programs is what costs most here.
pub fn ip(commands: &str) -> Result<()> {
    system::run("ip", &["-batch", "-"], commands).map(drop)
}

/// Sets a sysctl of the current network namespace, such as `net/ipv4/ip_forward`.
pub fn sysctl(name: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/{name}"), value).with_context(|| format!("sysctl {name}"))
}

/// Sets the seconds for which conntrack keeps an entry, such as `udp_timeout`.
pub fn conntrack_timeout(name: &str, seconds: u32) -> Result<()> {
    sysctl(
        &format!("net/netfilter/nf_conntrack_{name}"),
        &seconds.to_string(),
    )
}

/// One end of a veth pair.
pub struct End<'a> {
    netns: &'a Netns,
    device: &'a str,
    /// With its prefix length.
    address: &'a str,
}

impl<'a> End<'a> {
    pub fn new(netns: &'a Netns, device: &'a str, address: &'a str) -> Self {
        Self {
            netns,
            device,
            address,
        }
    }
}

/// Joins two namespaces by a veth pair.
pub fn veth(left: &End<'_>, right: &End<'_>) -> Result<()> {
    // Where both ends have the same index, the kernel takes a second to tell IPv6 of the carrier.
    const INDEX: u32 = 77;
    for end in [left, right] {
        // Nobody else can have an address; to make sure of that takes seconds.
        end.netns
            .within(|| sysctl("net/ipv6/conf/default/accept_dad", "0"))?;
    }
    left.netns.within(|| {
        ip(&format!(
            "link add {} index {INDEX} type veth peer name {} netns {}",
            left.device,
            right.device,
            right.netns.path()
        ))
    })?;
    for end in [left, right] {
        let nodad = if end.address.contains(':') {
            " nodad"
        } else {
            ""
        };
        end.netns.within(|| {
            ip(&format!(
                "address add {} dev {device}{nodad}\nlink set {device} up",
                end.address,
                device = end.device
            ))
        })?;
    }
    Ok(())
}

/// Makes the current namespace forward packets.
pub fn forward(family: Family) -> Result<()> {
    match family {
        Family::Ipv4 => sysctl("net/ipv4/ip_forward", "1"),
        Family::Ipv6 => sysctl("net/ipv6/conf/all/forwarding", "1"),
    }
}
