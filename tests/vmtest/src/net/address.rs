// SPDX-License-Identifier: GPL-2.0

//! The addresses that tests use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::variant::{Family, Path};

/// The port that servers listen on.
pub const PORT: u16 = 80;

/// An address and the length of a prefix of it.
pub type Prefix = (IpAddr, u8);

/// What is local to a namespace with a TUN device: every address below is a server's.
pub fn servers(family: Family) -> Prefix {
    match family {
        Family::Ipv4 => (Ipv4Addr::new(160, 0, 0, 0).into(), 3),
        Family::Ipv6 => (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0).into(), 7),
    }
}

/// The most significant bit in which two servers' addresses may differ. A client's address with
/// this bit flipped is a client's.
pub fn free_bit(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 3,
        Family::Ipv6 => 7,
    }
}

pub fn server(family: Family, path: Path) -> IpAddr {
    match (family, path) {
        (Family::Ipv4, Path::Wire) => Ipv4Addr::new(170, 0, 0, 1).into(),
        (Family::Ipv4, Path::Loopback) => Ipv4Addr::new(127, 0, 0, 1).into(),
        (Family::Ipv6, _) => Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// The address of the client with this number. On loopback all are local, too.
pub fn client(family: Family, path: Path, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match (family, path) {
        (Family::Ipv4, Path::Wire) => Ipv4Addr::new(20, 0, high, low).into(),
        (Family::Ipv4, Path::Loopback) => Ipv4Addr::new(127, 1, high, low).into(),
        (Family::Ipv6, Path::Wire) => Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, number).into(),
        (Family::Ipv6, Path::Loopback) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// An address with one of its bits, counted from the most significant one, flipped.
pub fn flip_bit(address: IpAddr, bit: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() ^ (1 << (31 - bit))).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() ^ (1 << (127 - bit))).into(),
    }
}

/// How many bits an address has.
pub fn width(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 32,
        Family::Ipv6 => 128,
    }
}

/// The key that a mask of `prefix` bits makes of an address.
pub fn masked(address: IpAddr, prefix: u8) -> u128 {
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), width(Family::Ipv4)),
        IpAddr::V6(address) => (address.to_bits(), width(Family::Ipv6)),
    };
    // The bits outside the mask are shifted out; shifting out all 128 would overflow.
    bits.checked_shr(u32::from(width - prefix)).unwrap_or(0)
}

/// The address that stands for all.
pub fn any(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}
