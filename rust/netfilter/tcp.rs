// SPDX-License-Identifier: GPL-2.0

//! Segments of TCP.
//!
//! C header: [`include/net/tcp.h`](srctree/include/net/tcp.h)

use super::family::Family;
use crate::bindings;

const SYN: u8 = bindings::XT_RUST_TCP_SYN;
const RST: u8 = bindings::XT_RUST_TCP_RST;
const ACK: u8 = bindings::XT_RUST_TCP_ACK;

/// What the header of a segment says.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    flags: u8,
    /// How many bytes of data it carries.
    data: u32,
}

impl Segment {
    /// Reads the header of a packet. `None` if it has none of TCP, or not all of it.
    ///
    /// # Safety
    ///
    /// `skb` must be a valid packet at a hook of family `F`.
    pub(super) unsafe fn read<F: Family>(skb: *const bindings::sk_buff) -> Option<Self> {
        let mut segment = Self { flags: 0, data: 0 };
        // SAFETY: The caller promises a valid packet of family `F`; both fields can be written.
        let is_read = unsafe {
            bindings::xt_rust_tcp_segment(skb, F::NFPROTO, &mut segment.flags, &mut segment.data)
        };

        is_read.then_some(segment)
    }

    /// Whether it asks for a new connection.
    #[inline]
    pub(crate) fn is_syn(self) -> bool {
        self.flags & (SYN | RST | ACK) == SYN
    }

    /// Whether it is a reset.
    #[inline]
    pub(crate) fn is_reset(self) -> bool {
        self.flags & RST != 0
    }

    /// Whether it carries data.
    #[inline]
    pub(crate) fn has_data(self) -> bool {
        self.data != 0
    }
}
