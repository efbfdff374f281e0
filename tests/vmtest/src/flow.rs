// SPDX-License-Identifier: GPL-2.0

//! One connection, seen from outside: the packets that its two ends send.

use std::net::SocketAddr;

use anyhow::Result;

use crate::conntrack::Tuple;
use crate::net::packet::{datagram, Flags, Segment};
use crate::variant::Transport;

/// The first sequence number of clients, and of servers that are played by the test.
const CLIENT_ISN: u32 = 1000;
const SERVER_ISN: u32 = 5000;

#[derive(Clone, Debug)]
pub struct Flow {
    pub tuple: Tuple,
    /// The sequence numbers that come next, after the SYN.
    pub client_next: u32,
    pub server_next: u32,
}

impl Flow {
    pub fn new(transport: Transport, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            tuple: Tuple {
                transport,
                source,
                destination,
            },
            client_next: CLIENT_ISN + 1,
            server_next: SERVER_ISN + 1,
        }
    }

    /// The packet that opens the connection.
    pub fn first(&self) -> Result<Vec<u8>> {
        match self.tuple.transport {
            Transport::Tcp => self.segment(Flags::SYN, CLIENT_ISN).bytes(),
            Transport::Udp => datagram(self.tuple.source, self.tuple.destination),
        }
    }

    /// A later packet of the client.
    pub fn later(&self) -> Result<Vec<u8>> {
        match self.tuple.transport {
            Transport::Tcp => self.by_client(Flags::ACK),
            Transport::Udp => self.first(),
        }
    }

    /// Data of the client of a TCP connection.
    pub fn data(&mut self, data: &[u8]) -> Result<Vec<u8>> {
        let segment = self.segment(Flags::ACK, self.client_next).with_data(data);
        self.client_next = self.client_next.wrapping_add(data.len().try_into()?);
        segment
    }

    pub fn by_client(&self, flags: Flags) -> Result<Vec<u8>> {
        self.segment(flags, self.client_next).bytes()
    }

    /// What a server answers first.
    pub fn answer(&self) -> Result<Vec<u8>> {
        match self.tuple.transport {
            Transport::Tcp => self.segment_back(Flags::SYN_ACK, SERVER_ISN).bytes(),
            Transport::Udp => datagram(self.tuple.destination, self.tuple.source),
        }
    }

    pub fn by_server(&self, flags: Flags) -> Result<Vec<u8>> {
        self.segment_back(flags, self.server_next).bytes()
    }

    fn segment(&self, flags: Flags, sequence: u32) -> Segment {
        Segment {
            from: self.tuple.source,
            to: self.tuple.destination,
            flags,
            sequence,
            acknowledgment: self.server_next,
        }
    }

    fn segment_back(&self, flags: Flags, sequence: u32) -> Segment {
        Segment {
            from: self.tuple.destination,
            to: self.tuple.source,
            flags,
            sequence,
            acknowledgment: self.client_next,
        }
    }
}
