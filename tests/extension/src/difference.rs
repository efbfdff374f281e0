// SPDX-License-Identifier: GPL-2.0

//! All that libxt_connlimit does otherwise than the extension that comes with iptables.

use crate::{Family, List, Release};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Difference {
    /// A bad value is shown, with what is wrong with it and what would be right.
    Message,
    /// What is longer than an address is a slip, and no netmask: stock takes 33 for 0.0.0.33, and
    /// counts all clients together.
    PrefixBeyondAddress,
    /// A netmask is written as four numbers, or as an IPv6 address: stock has libc read it, which
    /// takes 255.255.255 for 255.255.0.255, and `fe80::%lo`.
    PartOfNetmask,
    /// A number has no sign.
    Sign,
    /// A number is decimal, octal or hexadecimal: since forky, stock takes 0b1 as well.
    Binary,
    /// A netmask that is no prefix is shown, and saved, as it was given: stock shows 255.0.255.0 as 8,
    /// and that of bookworm takes it for 255.255.255.255.
    NetmaskWithHoles,
    /// A mask that does nothing is the same given or not: with stock, `iptables -D` does not find a
    /// rule that had none by what was saved of it, which has one.
    FullMask,
    /// The set of a translation is for addresses of the rule's family: stock's is for IPv4.
    TypeOfSet,
}

impl Difference {
    /// In a list that ours refuses.
    pub fn refused(release: Release, list: &List) -> Option<Self> {
        if list.words.len() > 4 {
            return None;
        }
        if let Some(mask) = list.value(&["--connlimit-mask"]) {
            list.value(&["--connlimit-above"])?;
            return Some(match mask {
                "+24" | "+64" => Difference::Sign,
                "33" | "64" | "128" | "256" if list.family == Family::Ipv4 => {
                    Difference::PrefixBeyondAddress
                }
                "255.255.255" | "0xffffff00" | "4294967040" | "0377.255.255.0" | "fe80::%lo" => {
                    Difference::PartOfNetmask
                }
                _ => Difference::Message,
            });
        }
        match list.value(&["--connlimit-upto", "--connlimit-above"])? {
            "5" => None,
            "+1" => Some(Difference::Sign),
            "0b1" if release == Release::Forky => Some(Difference::Binary),
            _ => Some(Difference::Message),
        }
    }

    /// Whether stock takes what ours refuses.
    pub fn is_taken_by_stock(self) -> bool {
        self != Difference::Message
    }

    /// In what a list that both take is translated to.
    pub fn translated(release: Release, list: &List) -> Option<Self> {
        match list.family {
            Family::Ipv4 => Self::stored(release, list).filter(|&it| it != Difference::FullMask),
            Family::Ipv6 => Some(Difference::TypeOfSet),
        }
    }

    /// In what the kernel is told.
    pub fn stored(release: Release, list: &List) -> Option<Self> {
        match list.value(&["--connlimit-mask"]) {
            Some("32" | "255.255.255.255") if list.family == Family::Ipv4 => {
                Some(Difference::FullMask)
            }
            _ => Self::shown(list).filter(|_| release == Release::Bookworm),
        }
    }

    /// In how a rule of the kernel is listed and saved.
    pub fn shown(list: &List) -> Option<Self> {
        match list.value(&["--connlimit-mask"]) {
            Some("255.0.255.0" | "ffff::ffff") => Some(Difference::NetmaskWithHoles),
            _ => None,
        }
    }
}
