// SPDX-License-Identifier: GPL-2.0

//! Masks: what of an address tells clients apart.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::number;

/// The family of a rule, by which its addresses are read and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// The longest prefix.
    pub fn bits(self) -> u8 {
        match self {
            Family::Ipv4 => 32,
            Family::Ipv6 => 128,
        }
    }

    /// A netmask as it may be written.
    fn example(self) -> &'static str {
        match self {
            Family::Ipv4 => "255.255.255.0",
            Family::Ipv6 => "ffff:ffff:ffff:ffff::",
        }
    }
}

/// A netmask, contiguous or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(IpAddr);

impl Mask {
    /// Which leaves addresses as they are.
    pub const fn full(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self(IpAddr::V4(Ipv4Addr::BROADCAST)),
            Family::Ipv6 => Self(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))),
        }
    }

    /// Of the bytes that the kernel has, those that the family uses.
    pub fn from_bytes(family: Family, bytes: [u8; 16]) -> Self {
        match family {
            Family::Ipv4 => {
                let [a, b, c, d, ..] = bytes;
                Self(Ipv4Addr::new(a, b, c, d).into())
            }
            Family::Ipv6 => Self(Ipv6Addr::from(bytes).into()),
        }
    }

    /// What a rule has that is given no mask.
    pub const DEFAULT_BYTES: [u8; 16] = [0xff; 16];

    /// For the kernel. Those that the family does not use are zero, but for a mask that does nothing:
    /// it is the same rule, whether that was given or not, and `iptables -D` looks at all bytes.
    pub fn bytes(self) -> [u8; 16] {
        match self.0 {
            IpAddr::V4(Ipv4Addr::BROADCAST) => Self::DEFAULT_BYTES,
            IpAddr::V4(mask) => {
                let [a, b, c, d] = mask.octets();
                [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            }
            IpAddr::V6(mask) => mask.octets(),
        }
    }

    fn from_prefix(family: Family, prefix: u8) -> Option<Self> {
        let absent = u32::from(family.bits().checked_sub(prefix)?);
        Some(match family {
            Family::Ipv4 => {
                let bits = u32::MAX.checked_shl(absent).unwrap_or(0);
                Self(Ipv4Addr::from(bits).into())
            }
            Family::Ipv6 => {
                let bits = u128::MAX.checked_shl(absent).unwrap_or(0);
                Self(Ipv6Addr::from(bits).into())
            }
        })
    }

    /// Its length, if it is that of a prefix.
    pub fn prefix(self) -> Option<u32> {
        let (leading, all) = match self.0 {
            IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
            IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
        };
        (leading == all).then_some(leading)
    }

    /// The whole netmask, for nft.
    pub fn netmask(self) -> IpAddr {
        self.0
    }
}

/// As a prefix length where it has one, else as it was given.
impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(prefix) => prefix.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

/// Why a value is no mask for the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A number, but longer than an address.
    TooLong(Family),
    NoMask(Family),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, what) = match self {
            Wrong::TooLong(family) => (family, "is longer than an address"),
            Wrong::NoMask(family) => (family, "is not a mask"),
        };
        write!(
            f,
            "{what}: expected a prefix length from 0 to {}, or a netmask such as {}",
            family.bits(),
            family.example()
        )
    }
}

/// The mask that `value` is: a prefix length, or a whole netmask.
pub fn parse(family: Family, value: &[u8]) -> Result<Mask, Wrong> {
    match number::parse(value) {
        Ok(prefix) => u8::try_from(prefix)
            .ok()
            .and_then(|prefix| Mask::from_prefix(family, prefix))
            .ok_or(Wrong::TooLong(family)),
        Err(number::Wrong::TooLarge) => Err(Wrong::TooLong(family)),
        Err(_) => {
            let text = core::str::from_utf8(value).map_err(|_| Wrong::NoMask(family))?;
            let netmask = match family {
                Family::Ipv4 => text.parse::<Ipv4Addr>().map(IpAddr::V4),
                Family::Ipv6 => text.parse::<Ipv6Addr>().map(IpAddr::V6),
            };
            netmask.map(Mask).map_err(|_| Wrong::NoMask(family))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Family::{Ipv4, Ipv6};
    use super::*;

    fn shown(family: Family, value: &str) -> String {
        parse(family, value.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn prefixes() {
        for (family, prefix, netmask) in [
            (Ipv4, "0", "0.0.0.0"),
            (Ipv4, "1", "128.0.0.0"),
            (Ipv4, "24", "255.255.255.0"),
            (Ipv4, "32", "255.255.255.255"),
            (Ipv6, "0", "::"),
            (Ipv6, "33", "ffff:ffff:8000::"),
            (Ipv6, "64", "ffff:ffff:ffff:ffff::"),
            (Ipv6, "128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let mask = parse(family, prefix.as_bytes()).unwrap();
            assert_eq!(mask, parse(family, netmask.as_bytes()).unwrap());
            assert_eq!(mask.netmask().to_string(), netmask);
            assert_eq!(mask.to_string(), prefix);
        }
        assert_eq!(shown(Ipv4, "030"), "24");
        assert_eq!(shown(Ipv4, "0x18"), "24");
    }

    #[test]
    fn bytes() {
        let bytes = |family, value: &str| parse(family, value.as_bytes()).unwrap().bytes();
        assert_eq!(bytes(Ipv4, "32"), Mask::DEFAULT_BYTES);
        assert_eq!(bytes(Ipv6, "128"), Mask::DEFAULT_BYTES);
        assert_eq!(bytes(Ipv4, "24")[..5], [255, 255, 255, 0, 0]);
        assert_eq!(bytes(Ipv6, "20")[..5], [255, 255, 240, 0, 0]);
    }

    #[test]
    fn with_holes() {
        assert_eq!(shown(Ipv4, "255.0.255.0"), "255.0.255.0");
        assert_eq!(shown(Ipv6, "ffff::ffff"), "ffff::ffff");
    }

    #[test]
    fn too_long() {
        for value in ["33", "64", "128", "256", "4294967296", "4294967295"] {
            assert_eq!(
                parse(Ipv4, value.as_bytes()),
                Err(Wrong::TooLong(Ipv4)),
                "{value}"
            );
        }
        assert_eq!(parse(Ipv6, b"129"), Err(Wrong::TooLong(Ipv6)));
    }

    #[test]
    fn no_mask() {
        for value in [
            "",
            "-1",
            "+24",
            "24x",
            "/24",
            "255.255.255",
            "255.255.255.0 ",
            "::",
            "\u{fc}",
        ] {
            assert_eq!(
                parse(Ipv4, value.as_bytes()),
                Err(Wrong::NoMask(Ipv4)),
                "{value}"
            );
        }
        for value in ["255.255.255.0", "ffff", "ffff::%lo", "x"] {
            assert_eq!(
                parse(Ipv6, value.as_bytes()),
                Err(Wrong::NoMask(Ipv6)),
                "{value}"
            );
        }
        assert_eq!(parse(Ipv4, b"\xff"), Err(Wrong::NoMask(Ipv4)));
    }
}
