// SPDX-License-Identifier: GPL-2.0

//! Packets in pieces.

use anyhow::Result;
use etherparse::{IpFragOffset, IpHeaders, IpNumber, Ipv6FragmentHeader};

/// A packet, without options of IP, as two fragments. The first one has `first` bytes of what IP carries,
/// a multiple of eight.
pub fn fragments(packet: &[u8], first: u16, id: u16) -> Result<[Vec<u8>; 2]> {
    let (headers, payload) = IpHeaders::from_slice(packet)?;
    let (head, tail) = payload.payload.split_at(first.into());
    Ok([
        fragment(headers.clone(), head, 0, true, id)?,
        fragment(headers, tail, first / 8, false, id)?,
    ])
}

fn fragment(
    mut headers: IpHeaders,
    payload: &[u8],
    offset: u16,
    more: bool,
    id: u16,
) -> Result<Vec<u8>> {
    let offset = IpFragOffset::try_new(offset)?;
    match &mut headers {
        IpHeaders::Ipv4(header, _) => {
            header.dont_fragment = false;
            header.more_fragments = more;
            header.fragment_offset = offset;
            header.identification = id;
        }
        IpHeaders::Ipv6(header, extensions) => {
            header.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
            extensions.fragment = Some(Ipv6FragmentHeader::new(
                IpNumber::TCP,
                offset,
                more,
                id.into(),
            ));
        }
    }
    headers.set_payload_len(payload.len())?;
    if let IpHeaders::Ipv4(header, _) = &mut headers {
        header.header_checksum = header.calc_header_checksum();
    }
    let mut bytes = Vec::new();
    headers.write(&mut bytes)?;
    bytes.extend(payload);
    Ok(bytes)
}
