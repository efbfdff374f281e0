// SPDX-License-Identifier: GPL-2.0

//! The same options: the same bytes in the kernel, the same rule shown and saved.

use anyhow::{ensure, Result};
use extension::{list, Difference, Extension, List};

use super::Programs;

struct Seen {
    stored: Vec<(u32, Vec<u8>)>,
    saved: Vec<String>,
    listed: Vec<String>,
}

impl Seen {
    fn with(programs: Programs, extension: Extension, rules: &[String]) -> Result<Self> {
        programs.restore(extension, rules)?;
        let seen = Self {
            stored: programs.stored()?,
            saved: programs.save(extension)?,
            listed: programs.list(extension)?,
        };
        for count in [seen.stored.len(), seen.saved.len(), seen.listed.len()] {
            ensure!(count == rules.len(), "{count} of {} rules", rules.len());
        }
        Ok(seen)
    }
}

pub fn run(programs: Programs) -> Result<()> {
    let lists = list::good(programs.lists());
    let rule = |list: &List| format!("-A INPUT -m connlimit {list}");
    let rules: Vec<String> = lists.iter().map(rule).collect();
    let stock = Seen::with(programs, Extension::Stock, &rules)?;
    let ours = Seen::with(programs, Extension::Ours, &rules)?;
    for (index, list) in lists.iter().enumerate() {
        ensure!(ours.stored[index].0 == 1, "{list}: not revision 1");
        let stored = Difference::stored(programs.release, list).is_some();
        let shown = Difference::shown(list).is_some();
        // Stock leaves in the bytes that IPv4 does not use what it finds on its stack.
        let used = |(_, info): &(u32, Vec<u8>)| match (programs.lists(), shown) {
            (extension::Family::Ipv4, true) => [&info[..4], &info[16..]].concat(),
            _ => info.clone(),
        };
        for (what, differs, expected) in [
            (
                "stored",
                used(&ours.stored[index]) != used(&stock.stored[index]),
                stored,
            ),
            ("saved", ours.saved[index] != stock.saved[index], shown),
            ("listed", ours.listed[index] != stock.listed[index], shown),
        ] {
            ensure!(
                differs == expected,
                "{list}: {what}\nours: {:?} {} {}\nstock: {:?} {} {}",
                ours.stored[index],
                ours.saved[index],
                ours.listed[index],
                stock.stored[index],
                stock.saved[index],
                stock.listed[index]
            );
        }
    }
    // What was saved makes the same rules.
    programs.restore(Extension::Ours, &ours.saved)?;
    ensure!(programs.save(Extension::Ours)? == ours.saved);
    for ((_, again), (_, before)) in programs.stored()?.iter().zip(&ours.stored) {
        let used = match programs.lists() {
            extension::Family::Ipv4 => 4,
            extension::Family::Ipv6 => 16,
        };
        ensure!(again[..used] == before[..used] && again[16..] == before[16..]);
    }
    Ok(())
}
