// SPDX-License-Identifier: GPL-2.0

//! More of everything than there is room or memory for. Documentation/reliability.md has the figures.

mod field;
mod million;
mod pressure;
mod table;

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{ensure, Result};

use crate::conntrack::{self, Tuple};
use crate::registry::Registry;
use crate::system;
use field::{connection, Field, LIMIT};

pub fn register(registry: &mut Registry) {
    registry
        .add("load/million", |_| million::million())
        .exclusive()
        .slow()
        .timeout(1200);
    registry
        .add("load/table_full", |_| table::full())
        .exclusive();
    registry
        .add("load/early_drop", |_| table::early_drop())
        .exclusive();
    registry
        .add("load/memory_pressure", |_| pressure::memory_pressure())
        .exclusive()
        .debug()
        .timeout(120);
}

/// Each source can have just as many new connections as it takes to the limit, counted from those
/// that conntrack has.
fn counts_are_conntracks(field: &mut Field, sources: u32) -> Result<()> {
    /// Above all that were used before.
    const FRESH: u16 = 10_000;

    system::settle()?;
    let mut tracked: HashMap<IpAddr, usize> = HashMap::new();
    for entry in field.in_router(conntrack::list)? {
        *tracked.entry(entry.tuple.source.ip()).or_default() += 1;
    }
    for source in 0..sources {
        let fresh: Vec<Tuple> = (FRESH..FRESH + LIMIT + 5)
            .map(|number| connection(source, number))
            .collect();
        let had = tracked.get(&fresh[0].source.ip()).copied().unwrap_or(0);
        let admitted = field
            .pass(&fresh)?
            .iter()
            .filter(|&&arrived| arrived)
            .count();
        ensure!(
            had + admitted == usize::from(LIMIT),
            "source {source}: {admitted} were admitted beside {had} that conntrack had"
        );
    }
    Ok(())
}
