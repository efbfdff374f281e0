// SPDX-License-Identifier: GPL-2.0

//! Whether conntrack can tell a connection by a packet, from `nf_conntrack_core.c` and what it calls.

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NOTHING: u8 = 59;
const DESTINATION: u8 = 60;

/// `None` where this does not know, or it is no matter: what is put together of a fragment and others
/// is another packet, and what is shorter than it says goes no further.
pub fn tells_connection(packet: &[u8]) -> Option<bool> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn ipv4(packet: &[u8]) -> Option<bool> {
    const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
    if word(packet, 6)? & MORE_FRAGMENTS_OR_OFFSET != 0 {
        return None;
    }
    let start = usize::from(packet[0] & 0xf) * 4;
    let end = usize::from(word(packet, 2)?);
    let protocol = *packet.get(9)?;
    Some(transport(protocol, packet.get(start..end)?))
}

fn ipv6(packet: &[u8]) -> Option<bool> {
    /// `IP6_MAX_EXT_HDRS_CNT`
    const HEADERS: usize = 12;
    const HEADER: usize = 40;

    let length = usize::from(word(packet, 4)?);
    let mut next = *packet.get(6)?;
    // A jumbogram says its length elsewhere.
    if length == 0 && next == HOP_BY_HOP {
        return None;
    }
    let packet = packet.get(..HEADER + length)?;
    let (mut at, mut headers) = (HEADER, 0);
    loop {
        match next {
            FRAGMENT => return None,
            NOTHING => return Some(false),
            HOP_BY_HOP | ROUTING | AUTHENTICATION | DESTINATION => headers += 1,
            _ => break,
        }
        let Some(&[following, length]) = packet.get(at..).and_then(|rest| rest.first_chunk())
        else {
            return Some(false);
        };
        let length = usize::from(length);
        at += match next {
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        next = following;
    }
    let payload = packet.get(at..).unwrap_or_default();
    Some(headers <= HEADERS && transport(next, payload))
}

fn transport(protocol: u8, payload: &[u8]) -> bool {
    match protocol {
        ICMP | ICMPV6 => payload.len() >= 8,
        TCP | UDP | SCTP => payload.len() >= 4,
        GRE => gre(payload),
        // Both addresses are all that tells such connections apart.
        _ => true,
    }
}

/// Only the GRE of PPTP has something that tells connections apart.
fn gre(payload: &[u8]) -> bool {
    const VERSION: u16 = 7;
    const OF_PPTP: u16 = 1;
    const PPP: u16 = 0x880b;
    const HEADER: usize = 8;

    match (word(payload, 0), word(payload, 2)) {
        (Some(flags), Some(protocol)) if flags & VERSION == OF_PPTP => {
            payload.len() < HEADER || protocol == PPP
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv6_of(next: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap();
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([next, 64]);
        packet.resize(40, 0);
        packet.extend(payload);
        packet
    }

    #[test]
    fn extension_headers() {
        let destination = |count: usize| {
            let mut chain = [DESTINATION, 0, 1, 4, 0, 0, 0, 0].repeat(count - 1);
            chain.extend([UDP, 0, 1, 4, 0, 0, 0, 0, 0, 80, 0, 80]);
            ipv6_of(DESTINATION, &chain)
        };
        assert_eq!(tells_connection(&destination(12)), Some(true));
        assert_eq!(tells_connection(&destination(13)), Some(false));
        assert_eq!(tells_connection(&ipv6_of(NOTHING, &[])), Some(false));
        assert_eq!(tells_connection(&ipv6_of(FRAGMENT, &[0; 16])), None);
        assert_eq!(tells_connection(&ipv6_of(UDP, &[0; 3])), Some(false));
        // Past the end of the packet, what needs no header has all it needs.
        assert_eq!(tells_connection(&ipv6_of(ROUTING, &[253, 9])), Some(true));
    }

    #[test]
    fn gre_versions() {
        assert!(gre(&[0x30, 0x01, 0x88, 0x0b, 0, 0, 0, 1]));
        assert!(!gre(&[0x30, 0x01, 0x08, 0x00, 0, 0, 0, 1]));
        assert!(gre(&[0x30, 0x00, 0x08, 0x00, 0, 0, 0, 1]));
        assert!(gre(&[0x30, 0x01, 0x08, 0x00]));
    }
}
