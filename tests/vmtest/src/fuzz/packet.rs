// SPDX-License-Identifier: GPL-2.0

//! Packets as they should not be, made of those of the corpus.

use std::net::IpAddr;

use fastrand::Rng;
use include_dir::{include_dir, Dir};

use super::bytes;
use crate::net::address;
use crate::variant::{Family, Path};

static CORPUS: Dir = include_dir!("$CARGO_MANIFEST_DIR/../corpus/packets");

/// How many clients they come from.
const CLIENTS: u16 = 64;
/// The number of the first.
const FIRST_CLIENT: u16 = 0x4000;

/// What conntrack tells apart, what is a header of IPv6 only, and some more.
const PROTOCOLS: [u8; 18] = [
    0, 1, 4, 6, 17, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 136, 253,
];

pub struct Packets {
    family: Family,
    destination: IpAddr,
    corpus: Vec<&'static [u8]>,
    /// First packets of connections that there are.
    tracked: Vec<Vec<u8>>,
}

impl Packets {
    /// To this address, and at times about these connections.
    pub fn new(family: Family, destination: IpAddr, tracked: Vec<Vec<u8>>) -> Self {
        let mut files: Vec<_> = CORPUS.files().collect();
        // The order of a directory is none.
        files.sort_by_key(|file| file.path());
        let corpus = files
            .into_iter()
            .map(|file| file.contents())
            .filter(|packet| packet.first().is_some_and(|it| it >> 4 == version(family)))
            .collect();
        Self {
            family,
            destination,
            corpus,
            tracked,
        }
    }

    /// Those of the corpus as they are, and from clients to where they are to go.
    pub fn corpus(&self, rng: &mut Rng) -> Vec<Vec<u8>> {
        let mut packets: Vec<_> = self.corpus.iter().map(|packet| packet.to_vec()).collect();
        packets.extend_from_within(..);
        for packet in &mut packets[self.corpus.len()..] {
            self.address(rng, packet);
        }
        packets
    }

    /// One, or one in fragments.
    pub fn make(&self, rng: &mut Rng) -> Vec<Vec<u8>> {
        let mut packet = self.choose(rng).to_vec();
        for _ in 0..rng.usize(1..=2) {
            self.change(rng, &mut packet);
        }
        // As it comes it would mostly go no further than the first look at its header.
        let whole = rng.u8(..16) > 0;
        if whole {
            self.address(rng, &mut packet);
        }
        let mut packets = if rng.u8(..12) == 0 {
            fragments(rng, &packet)
        } else {
            vec![packet]
        };
        if whole {
            packets.iter_mut().for_each(|packet| complete(packet));
        }
        packets
    }

    fn choose(&self, rng: &mut Rng) -> &'static [u8] {
        self.corpus[rng.usize(..self.corpus.len())]
    }

    fn change(&self, rng: &mut Rng, packet: &mut Vec<u8>) {
        let header = header_length(packet);
        match rng.u8(..8) {
            0 => bytes::mutate(rng, packet, 0),
            1..=3 => bytes::mutate(rng, packet, header),
            // So that there is not all of the next header.
            4 => packet.truncate(header + rng.usize(..24)),
            5 => {
                let at = match self.family {
                    Family::Ipv4 => 9,
                    Family::Ipv6 => 6,
                };
                if let Some(protocol) = packet.get_mut(at) {
                    *protocol = PROTOCOLS[rng.usize(..PROTOCOLS.len())];
                }
            }
            6 => match self.family {
                Family::Ipv4 => add_options(rng, packet),
                Family::Ipv6 => add_header(rng, packet),
            },
            _ => *packet = self.quote(rng, packet),
        }
    }

    /// An ICMP error about a packet, or about an answer to one: that may belong to a connection.
    fn quote(&self, rng: &mut Rng, about: &[u8]) -> Vec<u8> {
        let mut about = match rng.choice(&self.tracked) {
            Some(tracked) if rng.bool() => tracked.clone(),
            _ => about.to_vec(),
        };
        if rng.bool() {
            turn_round(&mut about);
        }
        about.truncate(rng.usize(..=about.len() * 2));
        let kind = match self.family {
            Family::Ipv4 => [3, 4, 5, 11, 12][rng.usize(..5)],
            Family::Ipv6 => rng.u8(1..=4),
        };
        let mut packet = match self.family {
            Family::Ipv4 => vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1],
            Family::Ipv6 => vec![0x60, 0, 0, 0, 0, 0, 58, 64],
        };
        packet.resize(smallest_header(self.family), 0);
        packet.extend([kind, rng.u8(..16), 0, 0, 0, 0, 0, 0]);
        packet.extend(about);
        packet
    }

    /// Has it come from a client to where it is to go.
    fn address(&self, rng: &mut Rng, packet: &mut [u8]) {
        let client = FIRST_CLIENT + rng.u16(..CLIENTS);
        let source = address::client(self.family, Path::Wire, client);
        match (source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) if packet.len() >= 20 => {
                packet[12..16].copy_from_slice(&source.octets());
                packet[16..20].copy_from_slice(&destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) if packet.len() >= 40 => {
                packet[8..24].copy_from_slice(&source.octets());
                packet[24..40].copy_from_slice(&destination.octets());
            }
            _ => return,
        }
        packet[0] = (version(self.family) << 4) | (packet[0] & 0xf);
        complete(packet);
    }
}

fn version(family: Family) -> u8 {
    match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 6,
    }
}

fn smallest_header(family: Family) -> usize {
    match family {
        Family::Ipv4 => 20,
        Family::Ipv6 => 40,
    }
}

/// Of the header that a packet should begin with.
fn header_length(packet: &[u8]) -> usize {
    match packet.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 0xf).max(5) * 4,
        _ => smallest_header(Family::Ipv6),
    }
    .min(packet.len())
}

/// Exchanges source and destination, of the ports, too.
fn turn_round(packet: &mut [u8]) {
    let at = header_length(packet);
    let addresses = match packet.first() {
        Some(first) if first >> 4 == 4 => 12..20,
        _ => 8..40,
    };
    for range in [addresses, at..at + 4] {
        if let Some(both) = packet.get_mut(range) {
            let (one, other) = both.split_at_mut(both.len() / 2);
            one.swap_with_slice(other);
        }
    }
}

/// Has the header be what it takes to be looked at any further.
fn complete(packet: &mut [u8]) {
    const HOPS: u8 = 64;
    let length = packet.len();
    let put = |packet: &mut [u8], at: usize, word: u16| {
        packet[at..at + 2].copy_from_slice(&word.to_be_bytes());
    };
    match packet.first() {
        Some(first) if first >> 4 == 4 && length >= 20 => {
            let words = usize::from(first & 0xf);
            if words < 5 || words * 4 > length {
                packet[0] = 0x45;
            }
            put(packet, 2, u16::try_from(length).unwrap_or(u16::MAX));
            packet[8] = HOPS;
            put(packet, 10, 0);
            let checksum = checksum(&packet[..header_length(packet)]);
            put(packet, 10, checksum);
        }
        Some(first) if first >> 4 == 6 && length >= 40 => {
            put(packet, 4, u16::try_from(length - 40).unwrap_or(u16::MAX));
            packet[7] = HOPS;
        }
        _ => {}
    }
}

fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}

/// Options of IPv4, of which there may be 40 bytes.
fn add_options(rng: &mut Rng, packet: &mut Vec<u8>) {
    let at = header_length(packet);
    let room = 15_usize.saturating_sub(at / 4);
    let words = rng.usize(..=room);
    let options: Vec<u8> = (0..words * 4).map(|_| rng.u8(..)).collect();
    if let Some(first) = packet.first_mut() {
        *first = 0x40 | u8::try_from(at / 4 + words).unwrap_or(0xf);
        drop(packet.splice(at..at, options));
    }
}

/// One of the extension headers of IPv6.
fn add_header(rng: &mut Rng, packet: &mut Vec<u8>) {
    const HEADERS: [u8; 5] = [0, 43, 44, 51, 60];
    /// `PadN`
    const PADDING: [u8; 2] = [1, 4];
    let at = header_length(packet);
    let Some(next) = packet.get_mut(6) else {
        return;
    };
    let mut header = vec![*next, 0];
    *next = HEADERS[rng.usize(..HEADERS.len())];
    match rng.u8(..3) {
        0 => header.extend((0..6).map(|_| rng.u8(..))),
        1 => header[1] = rng.u8(..),
        _ => header.extend(PADDING),
    }
    header.resize(8, 0);
    drop(packet.splice(at..at, header));
}

/// Two or three fragments of a packet, with gaps and overlaps at times, in any order.
fn fragments(rng: &mut Rng, packet: &[u8]) -> Vec<Vec<u8>> {
    let at = header_length(packet);
    let (header, payload) = packet.split_at(at);
    let id = rng.u8(..4);
    let mut fragments = Vec::new();
    let mut offset = 0;
    while offset < payload.len() && fragments.len() < 3 {
        let length = rng.usize(1..=8) * 8;
        let end = (offset + length).min(payload.len());
        let last = end == payload.len() || fragments.len() == 2;
        let place = match rng.u8(..8) {
            0 => offset + 8,
            1 => offset.saturating_sub(8),
            _ => offset,
        };
        fragments.push(fragment(header, &payload[offset..end], place, !last, id));
        offset = end;
    }
    rng.shuffle(&mut fragments);
    fragments
}

/// `place` is a multiple of 8.
fn fragment(header: &[u8], payload: &[u8], place: usize, more: bool, id: u8) -> Vec<u8> {
    const FRAGMENT: u8 = 44;
    let place = u16::try_from(place).unwrap_or(u16::MAX);
    let mut packet = header.to_vec();
    if header.len() >= 40 && header[0] >> 4 == 6 {
        packet.extend([header[6], 0]);
        packet.extend((place | u16::from(more)).to_be_bytes());
        packet.extend([0, 0, 0, id]);
        packet[6] = FRAGMENT;
    } else if header.len() >= 20 {
        packet[4..6].copy_from_slice(&[0, id]);
        let flags = (u16::from(more) << 13) | (place / 8);
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
    }
    packet.extend(payload);
    packet
}
