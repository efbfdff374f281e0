// SPDX-License-Identifier: GPL-2.0

//! Devices, addresses and routes, by iproute2.

use std::fs;

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

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

/// The command that makes a veth pair, the other end of which is in another namespace.
pub fn veth(device: &str, peer: &str, peer_netns: &Netns) -> String {
    // Where both ends have the same index, the kernel takes a second to tell IPv6 of the carrier.
    const INDEX: u32 = 77;
    let netns = peer_netns.path();
    format!("link add {device} index {INDEX} type veth peer name {peer} netns {netns}\n")
}

/// The commands that give a device addresses, with the lengths of their prefixes, and bring it up.
pub fn addresses(device: &str, addresses: &[&str]) -> String {
    let mut commands = String::new();
    for address in addresses {
        // Nobody else can have it, and to make sure of that takes a second.
        let nodad = if address.contains(':') { " nodad" } else { "" };
        commands += &format!("address add {address} dev {device}{nodad}\n");
    }
    commands + &format!("link set {device} up\n")
}

/// Has the devices that are yet to come use their IPv6 addresses at once.
pub fn trust_addresses() -> Result<()> {
    sysctl("net/ipv6/conf/default/accept_dad", "0")
}

/// Waits until devices of the current namespace take packets, which they do only a while after
/// both ends of the pair are up. What is sent before is lost.
pub fn wait_until_running(devices: &[&str]) -> Result<()> {
    system::wait_until("devices are running", || {
        let running: Vec<String> = getifaddrs()?
            .filter(|device| device.flags.contains(InterfaceFlags::IFF_RUNNING))
            .map(|device| device.interface_name)
            .collect();
        Ok(devices
            .iter()
            .all(|device| running.iter().any(|name| name == device)))
    })
}

/// Has a kernel thread poll a device, so that more than one packet waits for it at times.
pub fn receive_in_a_thread(device: &str) -> Result<()> {
    // What is mounted shows devices of another namespace.
    let file = format!("/sys/class/net/{device}/threaded");
    let command = format!("mount -t sysfs sysfs /sys && echo 1 >{file}");
    system::run("unshare", &["--mount", "sh", "-c", &command], "").map(drop)
}

/// Makes the current namespace forward packets.
pub fn forward(family: Family) -> Result<()> {
    match family {
        Family::Ipv4 => sysctl("net/ipv4/ip_forward", "1"),
        Family::Ipv6 => sysctl("net/ipv6/conf/all/forwarding", "1"),
    }
}
