// SPDX-License-Identifier: GPL-2.0

//! The entries of a legacy table as the kernel hands them out and takes them in: a run of
//! `struct ipt_entry` or `struct ip6t_entry`, each with its matches and its target.

use std::ops::Range;

use anyhow::{ensure, Context, Result};

use crate::variant::Family;

/// `struct xt_entry_match`: size, name, revision.
const MATCH_HEADER: usize = 32;
const NAME: usize = 29;

/// Offsets into an entry, which depend on the size of `struct ipt_ip` or `struct ip6t_ip6`.
struct Layout {
    target_offset: usize,
    next_offset: usize,
    packets: usize,
    size: usize,
}

fn layout(family: Family) -> Layout {
    match family {
        Family::Ipv4 => Layout {
            target_offset: 88,
            next_offset: 90,
            packets: 96,
            size: 112,
        },
        Family::Ipv6 => Layout {
            target_offset: 140,
            next_offset: 142,
            packets: 152,
            size: 168,
        },
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*field).into())
}

/// An entry of a rule for all packets, that has these matches and has them go on to accept. What the
/// matches say of their own sizes need not be so.
pub fn rule(family: Family, matches: &[u8]) -> Result<Vec<u8>> {
    /// `struct xt_standard_target`
    const TARGET: usize = 40;
    const VERDICT: usize = 32;
    /// `-NF_ACCEPT - 1`
    const ACCEPT: i32 = -2;

    let layout = layout(family);
    let target = layout.size + matches.len();
    let mut entry = vec![0; layout.size];
    for (at, offset) in [
        (layout.target_offset, target),
        (layout.next_offset, target + TARGET),
    ] {
        entry[at..at + 2].copy_from_slice(&u16::try_from(offset)?.to_ne_bytes());
    }
    entry.extend(matches);
    let mut bytes = [0; TARGET];
    bytes[..2].copy_from_slice(&u16::try_from(TARGET)?.to_ne_bytes());
    bytes[VERDICT..VERDICT + 4].copy_from_slice(&ACCEPT.to_ne_bytes());
    entry.extend(bytes);
    Ok(entry)
}

/// The packet counter of each entry from `start` up to, and without, the one at `end`.
pub fn packets(family: Family, entries: &[u8], start: usize, end: usize) -> Result<Vec<u64>> {
    let layout = layout(family);
    let mut packets = Vec::new();
    let mut offset = start;
    while offset < end {
        let entry = entries.get(offset..).context("entry out of bounds")?;
        let counter = entry
            .get(layout.packets..)
            .and_then(|bytes| bytes.first_chunk())
            .context("entry cut off")?;
        packets.push(u64::from_ne_bytes(*counter));
        offset += u16_at(entry, layout.next_offset)
            .filter(|&size| size > 0)
            .context("entry without size")?;
    }
    Ok(packets)
}

/// Sets the counters of all entries to 0.
pub fn clear_counters(family: Family, entries: &mut [u8]) -> Result<()> {
    /// `struct xt_counters`
    const COUNTERS: usize = 16;

    let layout = layout(family);
    let mut offset = 0;
    while offset < entries.len() {
        let entry = &mut entries[offset..];
        entry
            .get_mut(layout.packets..layout.packets + COUNTERS)
            .context("entry cut off")?
            .fill(0);
        offset += u16_at(entry, layout.next_offset)
            .filter(|&size| size > 0)
            .context("entry without size")?;
    }
    Ok(())
}

/// The private data of all matches of this name, as ranges of `entries`, with their revisions.
pub fn matches(family: Family, entries: &[u8], name: &str) -> Result<Vec<(u8, Range<usize>)>> {
    let layout = layout(family);
    let mut all = Vec::new();
    let mut offset = 0;
    while offset < entries.len() {
        let entry = &entries[offset..];
        let matches_end = offset + u16_at(entry, layout.target_offset).context("entry cut off")?;
        let mut at = offset + layout.size;
        while at < matches_end {
            let header = entries
                .get(at..at + MATCH_HEADER)
                .context("match cut off")?;
            let size = u16_at(header, 0).filter(|&size| size > 0);
            let size = size.context("match without size")?;
            ensure!(at + size <= entries.len(), "match out of bounds");
            let found = &header[2..2 + NAME];
            if found.starts_with(name.as_bytes()) && found[name.len()] == 0 {
                let revision = header[MATCH_HEADER - 1];
                all.push((revision, at + MATCH_HEADER..at + size));
            }
            at += size;
        }
        offset += u16_at(entry, layout.next_offset)
            .filter(|&size| size > 0)
            .context("entry without size")?;
    }
    Ok(all)
}
