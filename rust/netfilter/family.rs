// SPDX-License-Identifier: GPL-2.0

//! Protocol families.
//!
//! C header: [`include/uapi/linux/netfilter.h`](srctree/include/uapi/linux/netfilter.h)

use crate::{
    bindings,
    hash::HashKey, //
};

/// An address of a family, in network byte order as packets have it.
pub(crate) trait Address: Copy + Eq + Unpin + Send + Sync + 'static {
    /// The address of the network that `self` is in by `mask`.
    fn masked(self, mask: Self) -> Self;

    /// Takes it from where the ABI keeps an address or a mask: the first words, as many as it has.
    fn from_words(words: [u32; 4]) -> Self;

    /// The same the other way round. The words that it does not have are 0.
    fn to_words(self) -> [u32; 4];

    /// Hashes it together with a number.
    fn hash(self, number: u16, key: &HashKey) -> u32;

    /// Hashes two together with a number.
    fn hash_pair(pair: [Self; 2], number: u64, key: &HashKey) -> u32;
}

/// An IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv4Addr(u32);

impl Address for Ipv4Addr {
    #[inline]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words[0])
    }

    #[inline]
    fn to_words(self) -> [u32; 4] {
        [self.0, 0, 0, 0]
    }

    #[inline]
    fn masked(self, mask: Self) -> Self {
        Self(self.0 & mask.0)
    }

    #[inline]
    fn hash(self, number: u16, key: &HashKey) -> u32 {
        key.hash([u64::from(self.0) | u64::from(number) << 32])
    }

    #[inline]
    fn hash_pair([a, b]: [Self; 2], number: u64, key: &HashKey) -> u32 {
        key.hash([u64::from(a.0) | u64::from(b.0) << 32, number])
    }
}

/// An IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv6Addr([u32; 4]);

impl Ipv6Addr {
    #[inline]
    fn long_words(self) -> [u64; 2] {
        let [a, b, c, d] = self.0.map(u64::from);

        [a | b << 32, c | d << 32]
    }
}

impl Address for Ipv6Addr {
    #[inline]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    #[inline]
    fn to_words(self) -> [u32; 4] {
        self.0
    }

    #[inline]
    fn masked(self, mask: Self) -> Self {
        let [a, b, c, d] = self.0;
        let [w, x, y, z] = mask.0;

        Self([a & w, b & x, c & y, d & z])
    }

    #[inline]
    fn hash(self, number: u16, key: &HashKey) -> u32 {
        let [a, b] = self.long_words();

        key.hash([a, b, number.into()])
    }

    #[inline]
    fn hash_pair(pair: [Self; 2], number: u64, key: &HashKey) -> u32 {
        let [[a, b], [c, d]] = pair.map(Self::long_words);

        key.hash([a, b, c, d, number])
    }
}

/// A protocol family that matches are registered for.
///
/// # Safety
///
/// `NFPROTO` must be the family in whose packets `addresses` finds its header.
pub(crate) unsafe trait Family: Copy + Eq + Send + Sync + 'static {
    /// The type of its addresses.
    type Address: Address;

    /// Its `NFPROTO_*` number, which is also the `l3num` of its tuples.
    const NFPROTO: u8;

    /// Reads source and destination from the network header of a packet.
    ///
    /// # Safety
    ///
    /// `skb` must be valid, and its network header must be one of this family that lies in the
    /// linear part of the packet.
    unsafe fn addresses(skb: *const bindings::sk_buff) -> (Self::Address, Self::Address);
}

/// IPv4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv4;

// SAFETY: `addresses` reads an IPv4 header, which is what packets of `NFPROTO_IPV4` have.
unsafe impl Family for Ipv4 {
    type Address = Ipv4Addr;

    const NFPROTO: u8 = bindings::NFPROTO_IPV4 as u8;

    #[inline]
    unsafe fn addresses(skb: *const bindings::sk_buff) -> (Ipv4Addr, Ipv4Addr) {
        // SAFETY: The caller promises a valid packet with an IPv4 header in its linear part.
        let addrs = unsafe {
            let header = bindings::xt_rust_ip_hdr(skb);
            (*header).__bindgen_anon_1.__bindgen_anon_1
        };

        (Ipv4Addr(addrs.saddr), Ipv4Addr(addrs.daddr))
    }
}

/// IPv6.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipv6;

// SAFETY: `addresses` reads an IPv6 header, which is what packets of `NFPROTO_IPV6` have.
unsafe impl Family for Ipv6 {
    type Address = Ipv6Addr;

    const NFPROTO: u8 = bindings::NFPROTO_IPV6 as u8;

    #[inline]
    unsafe fn addresses(skb: *const bindings::sk_buff) -> (Ipv6Addr, Ipv6Addr) {
        // SAFETY: The caller promises a valid packet with an IPv6 header in its linear part, and
        // every view of an `in6_addr` is plain integers over the same bytes.
        unsafe {
            let header = bindings::xt_rust_ipv6_hdr(skb);
            let addrs = (*header).__bindgen_anon_1.__bindgen_anon_1;

            (
                Ipv6Addr(addrs.saddr.in6_u.u6_addr32),
                Ipv6Addr(addrs.daddr.in6_u.u6_addr32),
            )
        }
    }
}
