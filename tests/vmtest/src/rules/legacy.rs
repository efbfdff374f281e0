// SPDX-License-Identifier: GPL-2.0

//! The tables of ip_tables and ip6_tables, through the socket options that iptables-legacy uses.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{ensure, Context, Result};
use nix::sys::socket::{socket, AddressFamily, SockFlag, SockProtocol, SockType};

use super::{blob, Chain};
use crate::variant::Family;

const NAME: usize = 32;
const HOOKS: usize = 5;

/// `IPT_SO_SET_REPLACE`, `IPT_SO_GET_INFO`; those of ip6_tables have the same numbers.
const REPLACE: libc::c_int = 64;
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;

fn get_revision(family: Family) -> libc::c_int {
    match family {
        Family::Ipv4 => 66,
        Family::Ipv6 => 68,
    }
}

/// `struct ipt_getinfo`, without its name.
#[derive(Clone)]
struct Info {
    valid_hooks: u32,
    hook_entry: [u32; HOOKS],
    underflow: [u32; HOOKS],
    number: u32,
    size: u32,
}

impl Info {
    fn read(control: &Control, name: &str) -> Result<Self> {
        let mut bytes = padded_name(name);
        bytes.resize(NAME + 4 * (1 + 2 * HOOKS + 2), 0);
        control
            .get(GET_INFO, &mut bytes)
            .with_context(|| format!("table {name}"))?;
        let mut words = bytes[NAME..]
            .chunks_exact(4)
            .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        let mut next = || words.next().context("ipt_getinfo is too short");
        Ok(Self {
            valid_hooks: next()?,
            hook_entry: array(&mut next)?,
            underflow: array(&mut next)?,
            number: next()?,
            size: next()?,
        })
    }
}

/// A table, as read.
#[derive(Clone)]
pub struct Table {
    family: Family,
    name: String,
    info: Info,
    pub entries: Vec<u8>,
}

struct Control {
    socket: OwnedFd,
    level: libc::c_int,
}

impl Control {
    fn open(family: Family) -> Result<Self> {
        let (domain, level) = match family {
            Family::Ipv4 => (AddressFamily::Inet, libc::IPPROTO_IP),
            Family::Ipv6 => (AddressFamily::Inet6, libc::IPPROTO_IPV6),
        };
        let socket = socket(
            domain,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Raw,
        )?;
        Ok(Self { socket, level })
    }

    fn get(&self, option: libc::c_int, buffer: &mut [u8]) -> io::Result<()> {
        let mut length = socket_length(buffer)?;
        // SAFETY: `buffer` is writable for `length` bytes, and both outlive the call.
        let status = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                self.level,
                option,
                buffer.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        outcome(status)
    }

    fn set(&self, option: libc::c_int, buffer: &[u8]) -> io::Result<()> {
        let length = socket_length(buffer)?;
        // SAFETY: `buffer` is readable for `length` bytes and outlives the call. A pointer that it
        // may hold is the caller's to keep valid: see `Table::replace`.
        let status = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                self.level,
                option,
                buffer.as_ptr().cast(),
                length,
            )
        };
        outcome(status)
    }
}

fn socket_length(buffer: &[u8]) -> io::Result<libc::socklen_t> {
    buffer.len().try_into().map_err(io::Error::other)
}

fn outcome(status: libc::c_int) -> io::Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn padded_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(NAME, 0);
    bytes
}

impl Table {
    pub fn read(family: Family, name: &str) -> Result<Self> {
        let control = Control::open(family)?;
        let info = Info::read(&control, name)?;

        // `struct ipt_get_entries`: the entries are aligned to 8 bytes.
        const HEADER: usize = NAME + 8;
        let mut bytes = padded_name(name);
        bytes.extend(info.size.to_ne_bytes());
        bytes.resize(HEADER + usize::try_from(info.size)?, 0);
        control
            .get(GET_ENTRIES, &mut bytes)
            .with_context(|| format!("entries of {name}"))?;
        Ok(Self {
            family,
            name: name.to_owned(),
            info,
            entries: bytes.split_off(HEADER),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts the entries, as they are now, in the place of those in the kernel.
    pub fn replace(&self) -> Result<()> {
        let control = Control::open(self.family)?;
        // The kernel writes the counters of the entries there that there have been.
        let number = Info::read(&control, &self.name)?.number;
        let mut counters = vec![[0_u64; 2]; usize::try_from(number)?];
        let mut bytes = padded_name(&self.name);
        let words = [self.info.valid_hooks, self.info.number, self.info.size]
            .into_iter()
            .chain(self.info.hook_entry)
            .chain(self.info.underflow)
            .chain([number]);
        for word in words {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend((counters.as_mut_ptr().expose_provenance()).to_ne_bytes());
        bytes.extend(&self.entries);
        // `counters` outlives the call and has room for as many as `num_counters` says.
        control.set(REPLACE, &bytes)?;
        drop(counters);
        Ok(())
    }

    /// Puts a rule before all others of a built-in chain: see [`blob::rule`].
    pub fn insert(&mut self, chain: Chain, rule: &[u8]) -> Result<()> {
        let length = u32::try_from(rule.len())?;
        let at = self.info.hook_entry[chain.hook()];
        let start = usize::try_from(at)?;
        self.entries.splice(start..start, rule.iter().copied());
        for hook in (0..HOOKS).filter(|hook| self.info.valid_hooks & (1 << hook) != 0) {
            if self.info.hook_entry[hook] > at {
                self.info.hook_entry[hook] += length;
            }
            if self.info.underflow[hook] >= at {
                self.info.underflow[hook] += length;
            }
        }
        self.info.number += 1;
        self.info.size += length;
        Ok(())
    }

    /// The entries, with no packets counted.
    pub fn uncounted(mut self) -> Result<Vec<u8>> {
        blob::clear_counters(self.family, &mut self.entries)?;
        Ok(self.entries)
    }

    /// The private data and the revision of the first match of this name.
    pub fn match_info(&mut self, name: &str) -> Result<(u8, &mut [u8])> {
        let matches = blob::matches(self.family, &self.entries, name)?;
        let (revision, range) = matches.into_iter().next().context("no such match")?;
        Ok((revision, &mut self.entries[range]))
    }

    /// Those of all matches of this name.
    pub fn match_infos(&self, name: &str) -> Result<Vec<(u8, Vec<u8>)>> {
        let matches = blob::matches(self.family, &self.entries, name)?.into_iter();
        Ok(matches
            .map(|(revision, range)| (revision, self.entries[range].to_vec()))
            .collect())
    }
}

fn array(next: &mut impl FnMut() -> Result<u32>) -> Result<[u32; HOOKS]> {
    let mut array = [0; HOOKS];
    for word in &mut array {
        *word = next()?;
    }
    Ok(array)
}

/// How many packets each rule of a built-in chain has matched.
pub fn packets(family: Family, table: &str, chain: Chain) -> Result<Vec<u64>> {
    let table = Table::read(family, table)?;
    let hook = chain.hook();
    ensure!(
        table.info.valid_hooks & (1 << hook) != 0,
        "{} has no chain {}",
        table.name,
        chain.name()
    );
    // From the first rule to the policy, which is an entry of its own.
    let start = table.info.hook_entry[hook].try_into()?;
    let end = table.info.underflow[hook].try_into()?;
    blob::packets(family, &table.entries, start, end)
}

/// What the kernel says when asked whether it has a revision of a match.
pub fn revision(family: Family, name: &str, revision: u8) -> Result<()> {
    // `struct xt_get_revision`: a name of 29 bytes, and the revision.
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(29, 0);
    bytes.push(revision);
    Ok(Control::open(family)?.get(get_revision(family), &mut bytes)?)
}
