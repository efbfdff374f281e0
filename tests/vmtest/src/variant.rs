// SPDX-License-Identifier: GPL-2.0

//! The dimensions in which one scenario is repeated.

use std::fmt;

/// Which implementation of the match is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Module {
    Rs,
    InTree,
}

impl Module {
    pub const ALL: [Module; 2] = [Module::Rs, Module::InTree];

    /// The name under which the kernel lists the module.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Module::Rs => "xt_connlimit_rs",
            Module::InTree => "xt_connlimit",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// `AF_INET` and `AF_INET6`, which are `NFPROTO_IPV4` and `NFPROTO_IPV6`, too.
    pub fn number(self) -> u8 {
        match self {
            Family::Ipv4 => 2,
            Family::Ipv6 => 10,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrontEnd {
    Legacy,
    Nft,
}

impl FrontEnd {
    pub const ALL: [FrontEnd; 2] = [FrontEnd::Legacy, FrontEnd::Nft];
}

impl fmt::Display for FrontEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FrontEnd::Legacy => "legacy",
            FrontEnd::Nft => "nft",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub const ALL: [Transport; 2] = [Transport::Tcp, Transport::Udp];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        })
    }
}

/// How packets reach the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// From outside, through a TUN device: INPUT sees new connections unconfirmed.
    Wire,
    /// Through `lo`: POSTROUTING has confirmed them before INPUT sees them.
    Loopback,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Path::Wire => "wire",
            Path::Loopback => "loopback",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    pub family: Family,
    pub front_end: FrontEnd,
    pub transport: Transport,
}

impl Variant {
    pub fn all() -> impl Iterator<Item = Variant> {
        Family::ALL.into_iter().flat_map(|family| {
            FrontEnd::ALL.into_iter().flat_map(move |front_end| {
                Transport::ALL.into_iter().map(move |transport| Variant {
                    family,
                    front_end,
                    transport,
                })
            })
        })
    }

    pub fn tcp() -> impl Iterator<Item = Variant> {
        Self::all().filter(|variant| variant.transport == Transport::Tcp)
    }

    /// Where the family and the front end hardly matter: the two furthest apart.
    pub fn sample(transport: Transport) -> impl Iterator<Item = Variant> {
        Self::few().filter(move |variant| variant.transport == transport)
    }

    /// The same for both transports.
    pub fn few() -> impl Iterator<Item = Variant> {
        Self::all().filter(|variant| {
            (variant.family == Family::Ipv4) == (variant.front_end == FrontEnd::Legacy)
        })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.family, self.front_end, self.transport)
    }
}
