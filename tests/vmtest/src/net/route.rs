// SPDX-License-Identifier: GPL-2.0

//! The few things of rtnetlink that every test needs: one message costs a hundredth of what a
//! program costs.

use anyhow::{Context, Result};
use netlink_packet_core::NLM_F_CREATE;
use nix::net::if_::if_nametoindex;

use super::address::Prefix;
use crate::netlink::{Attributes, Netlink, Request};

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;

/// Brings a device up.
pub fn set_up(device: &str) -> Result<()> {
    let index = if_nametoindex(device)?;
    let flags = u32::try_from(libc::IFF_UP)?;
    // `struct ifinfomsg`: family, type, index, flags, which of these to change.
    let mut fixed = vec![0; 4];
    for word in [index, flags, flags] {
        fixed.extend(word.to_ne_bytes());
    }
    Netlink::route()?
        .act(Request::new(libc::RTM_NEWLINK, fixed))
        .with_context(|| format!("ip link set {device} up"))
}

/// Routes a prefix to a device.
pub fn add(prefix: Prefix, device: &str) -> Result<()> {
    add_route(prefix, device, libc::RT_TABLE_MAIN, libc::RTN_UNICAST)
        .with_context(|| format!("ip route add {prefix:?} dev {device}"))
}

/// Makes all addresses of a prefix the namespace's own.
pub fn add_local(prefix: Prefix) -> Result<()> {
    add_route(prefix, "lo", libc::RT_TABLE_LOCAL, libc::RTN_LOCAL)
        .with_context(|| format!("ip route add local {prefix:?}"))
}

fn add_route((address, length): Prefix, device: &str, table: u8, kind: u8) -> Result<()> {
    let index = if_nametoindex(device)?;
    let (family, destination) = match address {
        std::net::IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        std::net::IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let scope = if kind == libc::RTN_LOCAL {
        libc::RT_SCOPE_HOST
    } else {
        libc::RT_SCOPE_LINK
    };
    // `struct rtmsg`: family, lengths of both prefixes, TOS, table, origin, scope, type, flags.
    let mut fixed = vec![family.try_into()?, length, 0, 0];
    fixed.extend([table, libc::RTPROT_STATIC, scope, kind]);
    fixed.extend([0; 4]);
    let mut request = Request::new(libc::RTM_NEWROUTE, fixed);
    request.flags = NLM_F_CREATE;
    request.attributes = Attributes::default().put(RTA_OIF, &index.to_ne_bytes());
    if length > 0 {
        request.attributes = request.attributes.put(RTA_DST, &destination);
    }
    Netlink::route()?.act(request)
}
