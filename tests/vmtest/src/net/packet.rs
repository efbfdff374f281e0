// SPDX-License-Identifier: GPL-2.0

//! Packets, made and read.

use std::net::{IpAddr, SocketAddr};

use anyhow::{bail, Result};
use etherparse::{
    IpHeaders, IpNumber, IpSlice, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetHeaders, PacketBuilder,
    PacketBuilderStep, PacketHeaders, TransportHeader,
};

const TTL: u8 = 64;
const WINDOW: u16 = 60_000;

/// The TCP flags that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
}

impl Flags {
    pub const SYN: Flags = Flags {
        syn: true,
        ack: false,
        fin: false,
        rst: false,
    };
    pub const SYN_ACK: Flags = Flags {
        ack: true,
        ..Flags::SYN
    };
    pub const ACK: Flags = Flags {
        syn: false,
        ..Flags::SYN_ACK
    };
    pub const FIN_ACK: Flags = Flags {
        fin: true,
        ..Flags::ACK
    };
    pub const RST: Flags = Flags {
        rst: true,
        ack: false,
        ..Flags::ACK
    };
}

/// A TCP segment, but for its data.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: Flags,
    pub sequence: u32,
    pub acknowledgment: u32,
}

impl Segment {
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.with_data(&[])
    }

    pub fn with_data(&self, data: &[u8]) -> Result<Vec<u8>> {
        self.with_options(&[], data)
    }

    /// The same with TCP options, whose bytes are a multiple of four.
    pub fn with_options(&self, options: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        let mut tcp = ip(self.from.ip(), self.to.ip())?
            .tcp(self.from.port(), self.to.port(), self.sequence, WINDOW)
            .options_raw(options)?;
        if self.flags.syn {
            tcp = tcp.syn();
        }
        if self.flags.ack {
            tcp = tcp.ack(self.acknowledgment);
        }
        if self.flags.fin {
            tcp = tcp.fin();
        }
        if self.flags.rst {
            tcp = tcp.rst();
        }
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, data)?;
        Ok(bytes)
    }
}

/// The same packet with so few hops left that a router's conntrack sees it, and nobody behind that.
pub fn without_hops(mut packet: Vec<u8>) -> Result<Vec<u8>> {
    const HOP_LIMIT: usize = 7;
    match IpSlice::from_slice(&packet)? {
        IpSlice::Ipv4(ip) => {
            let mut header = ip.header().to_header();
            header.time_to_live = 1;
            header.header_checksum = header.calc_header_checksum();
            let bytes = header.to_bytes();
            packet[..bytes.len()].copy_from_slice(&bytes);
        }
        IpSlice::Ipv6(_) => packet[HOP_LIMIT] = 1,
    }
    Ok(packet)
}

pub fn datagram(from: SocketAddr, to: SocketAddr) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ip(from.ip(), to.ip())?
        .udp(from.port(), to.port())
        .write(&mut bytes, b"datagram")?;
    Ok(bytes)
}

pub fn echo_request(from: IpAddr, to: IpAddr, id: u16) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let ip = ip(from, to)?;
    match from {
        IpAddr::V4(_) => ip.icmpv4_echo_request(id, 1).write(&mut bytes, &[])?,
        IpAddr::V6(_) => ip.icmpv6_echo_request(id, 1).write(&mut bytes, &[])?,
    }
    Ok(bytes)
}

/// What says that the port of a packet is unreachable.
pub fn unreachable(from: IpAddr, to: IpAddr, about: &[u8]) -> Result<Vec<u8>> {
    const IPV4: [u8; 2] = [3, 3];
    const IPV6: [u8; 2] = [1, 4];
    let mut bytes = Vec::new();
    let ip = ip(from, to)?;
    match from {
        IpAddr::V4(_) => ip
            .icmpv4_raw(IPV4[0], IPV4[1], [0; 4])
            .write(&mut bytes, about)?,
        IpAddr::V6(_) => ip
            .icmpv6_raw(IPV6[0], IPV6[1], [0; 4])
            .write(&mut bytes, about)?,
    }
    Ok(bytes)
}

/// The first packet of an SCTP association.
pub fn sctp_init(from: SocketAddr, to: SocketAddr) -> Result<Vec<u8>> {
    const INIT: u8 = 1;
    const CHUNK_LENGTH: u16 = 20;
    const TAG: u32 = 0x1234_5678;
    const CHECKSUM: std::ops::Range<usize> = 8..12;

    let mut sctp = Vec::new();
    sctp.extend(from.port().to_be_bytes());
    sctp.extend(to.port().to_be_bytes());
    // No verification tag yet; the checksum is taken over zeros in its place.
    sctp.extend([0; 8]);
    sctp.extend([INIT, 0]);
    sctp.extend(CHUNK_LENGTH.to_be_bytes());
    sctp.extend(TAG.to_be_bytes());
    // Window, streams out and in, first sequence number.
    sctp.extend(u32::from(WINDOW).to_be_bytes());
    sctp.extend([0, 1, 0, 1]);
    sctp.extend(1_u32.to_be_bytes());
    let checksum = crc32c::crc32c(&sctp);
    sctp[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    raw(from.ip(), to.ip(), IpNumber::SCTP, &sctp)
}

/// A packet of any protocol; nothing makes sure that its payload is a whole header.
pub fn raw(from: IpAddr, to: IpAddr, protocol: IpNumber, payload: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ip(from, to)?.write(&mut bytes, protocol, payload)?;
    Ok(bytes)
}

fn ip(from: IpAddr, to: IpAddr) -> Result<PacketBuilderStep<IpHeaders>> {
    Ok(match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            PacketBuilder::ip(IpHeaders::Ipv4(
                Ipv4Header {
                    // `write` corrects length, protocol and checksum.
                    dont_fragment: true,
                    ..Ipv4Header::new(0, TTL, IpNumber::TCP, from.octets(), to.octets())?
                },
                Default::default(),
            ))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ip(IpHeaders::Ipv6(
            Ipv6Header {
                flow_label: Ipv6FlowLabel::ZERO,
                hop_limit: TTL,
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            },
            Default::default(),
        )),
        _ => bail!("{from} and {to} are of two families"),
    })
}

/// What the kernel sent.
#[derive(Clone, Copy, Debug)]
pub enum Packet {
    Tcp {
        segment: Segment,
        /// How many bytes of data it has.
        data: usize,
    },
    Icmp {
        to: IpAddr,
    },
}

impl Packet {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let headers = PacketHeaders::from_ip_slice(bytes).ok()?;
        let (from, to): (IpAddr, IpAddr) = match headers.net? {
            NetHeaders::Ipv4(ip, _) => (ip.source.into(), ip.destination.into()),
            NetHeaders::Ipv6(ip, _) => (ip.source.into(), ip.destination.into()),
            NetHeaders::Arp(_) => return None,
        };
        match headers.transport? {
            TransportHeader::Tcp(tcp) => Some(Packet::Tcp {
                segment: Segment {
                    from: (from, tcp.source_port).into(),
                    to: (to, tcp.destination_port).into(),
                    flags: Flags {
                        syn: tcp.syn,
                        ack: tcp.ack,
                        fin: tcp.fin,
                        rst: tcp.rst,
                    },
                    sequence: tcp.sequence_number,
                    acknowledgment: tcp.acknowledgment_number,
                },
                data: headers.payload.slice().len(),
            }),
            TransportHeader::Icmpv4(_) | TransportHeader::Icmpv6(_) => Some(Packet::Icmp { to }),
            TransportHeader::Udp(_) | TransportHeader::Igmp(_) => None,
        }
    }
}
