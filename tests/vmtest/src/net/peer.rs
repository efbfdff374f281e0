// SPDX-License-Identifier: GPL-2.0

//! A TCP client that sends what it likes: each packet is made by hand, and only the numbers are kept.

use std::net::SocketAddr;

use anyhow::Result;

use super::packet::{Flags, Segment};

/// How far the sequence numbers of one attempt are from those of the next: out of its window.
const STEP: u32 = 0x0200_0000;

/// The option of RFC 2385 with a digest that nobody expects, and two bytes of padding: conntrack
/// does not look at it, and a server drops the packet without a word.
const MD5: [u8; 20] = [
    19, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 1,
];

#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// The sequence number of the SYN.
    first: u32,
    /// The sequence number that comes next.
    pub next: u32,
    /// What comes next from the server.
    pub awaited: u32,
}

impl Peer {
    pub fn new(from: SocketAddr, to: SocketAddr) -> Self {
        const FIRST: u32 = 0x1000_0000;
        Self {
            from,
            to,
            first: FIRST,
            next: FIRST,
            awaited: 0,
        }
    }

    /// A SYN with sequence numbers of its own.
    pub fn syn(&mut self) -> Result<Vec<u8>> {
        self.first = self.first.wrapping_add(STEP);
        self.next = self.first.wrapping_add(1);
        self.awaited = 0;
        self.syn_again()
    }

    /// The same with data, which the server does not take before its answer is acknowledged.
    pub fn syn_with_data(&mut self, data: &[u8]) -> Result<Vec<u8>> {
        self.syn()?;
        self.segment(Flags::SYN, self.first).with_data(data)
    }

    /// The same SYN once more.
    pub fn syn_again(&self) -> Result<Vec<u8>> {
        self.segment(Flags::SYN, self.first).bytes()
    }

    /// Whether this answers the SYN; from then on its sequence number is known.
    pub fn takes_answer(&mut self, answer: &Segment) -> bool {
        let answers = answer.to == self.from
            && answer.from == self.to
            && answer.flags == Flags::SYN_ACK
            && answer.acknowledgment == self.first.wrapping_add(1);
        if answers {
            self.awaited = answer.sequence.wrapping_add(1);
        }
        answers
    }

    /// A packet with nothing but these flags, at the sequence number that comes next.
    pub fn packet(&self, flags: Flags) -> Result<Vec<u8>> {
        self.ahead(0, flags)
    }

    /// The same, so many bytes ahead of what comes next.
    pub fn ahead(&self, bytes: u32, flags: Flags) -> Result<Vec<u8>> {
        self.segment(flags, self.next.wrapping_add(bytes)).bytes()
    }

    /// The same, so many bytes before it.
    pub fn behind(&self, bytes: u32, flags: Flags) -> Result<Vec<u8>> {
        self.segment(flags, self.next.wrapping_sub(bytes)).bytes()
    }

    /// A packet like [`Self::packet`] with a TCP-MD5 signature.
    pub fn signed(&self, flags: Flags) -> Result<Vec<u8>> {
        self.segment(flags, self.next).with_options(&MD5, &[])
    }

    /// Data, which comes next.
    pub fn data(&mut self, data: &[u8]) -> Result<Vec<u8>> {
        let bytes = self.segment(Flags::ACK, self.next).with_data(data)?;
        self.next = self.next.wrapping_add(data.len().try_into()?);
        Ok(bytes)
    }

    /// What the server would send.
    pub fn by_server(&self, flags: Flags, sequence: u32) -> Segment {
        Segment {
            from: self.to,
            to: self.from,
            flags,
            sequence,
            acknowledgment: self.next,
        }
    }

    /// The same connection as if the server had begun it.
    pub fn reversed(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..self
        }
    }

    fn segment(&self, flags: Flags, sequence: u32) -> Segment {
        Segment {
            from: self.from,
            to: self.to,
            flags,
            sequence,
            acknowledgment: self.awaited,
        }
    }
}
