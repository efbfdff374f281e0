// SPDX-License-Identifier: GPL-2.0

//! Conntrack's table is full.

use std::fs;

use anyhow::{ensure, Context, Result};

use super::counts_are_conntracks;
use super::field::{connection, Field, LIMIT};
use crate::conntrack::{self, Tuple};
use crate::conntrack_size::ConntrackSize;

/// As many as fill the table.
const SOURCES: u32 = 8;
const MAX: u32 = SOURCES * LIMIT as u32;
/// Few, so that early drop, which looks at eight, finds what it may drop.
const BUCKETS: u32 = 512;

fn all_of(sources: std::ops::Range<u32>) -> Vec<Tuple> {
    sources
        .flat_map(|source| (0..LIMIT).map(move |number| connection(source, number)))
        .collect()
}

/// Of `connections`, each one's packet arrives.
fn pass(field: &mut Field, connections: &[Tuple]) -> Result<()> {
    let arrived = field.pass(connections)?;
    match arrived.iter().position(|&arrived| !arrived) {
        None => Ok(()),
        Some(lost) => anyhow::bail!("a packet of {:?} was lost", connections[lost]),
    }
}

fn assure(field: &Field, connections: &[Tuple]) -> Result<()> {
    field.in_router(|| connections.iter().try_for_each(conntrack::assure))
}

/// A counter of conntrack's for the current namespace, such as `early_drop`.
fn statistic(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack")?;
    let mut lines = text.lines();
    let mut names = lines.next().context("no statistics")?.split_whitespace();
    let column = names
        .position(|column| column == name)
        .with_context(|| format!("conntrack does not count {name}"))?;
    let mut sum = 0;
    // A line for each CPU.
    for line in lines {
        let number = line.split_whitespace().nth(column).context("no number")?;
        sum += u64::from_str_radix(number, 16)?;
    }
    Ok(sum)
}

/// All are assured: conntrack itself drops what would be new, and no trace of that is left.
pub fn full() -> Result<()> {
    let mut field = Field::new()?;
    let admitted = all_of(0..SOURCES);
    pass(&mut field, &admitted)?;
    assure(&field, &admitted)?;
    // Not before: conntrack's own clean-up may drop what is not assured once the table is nearly full.
    let size = ConntrackSize::set(MAX, BUCKETS)?;

    let before = field.refused()?;
    let others = all_of(SOURCES..2 * SOURCES);
    let arrived = field.pass(&others)?;
    ensure!(
        !arrived.contains(&true),
        "a connection was admitted although conntrack's table is full"
    );
    let refused = field.refused()? - before;
    ensure!(
        refused == 0,
        "the rule has seen {refused} that conntrack dropped"
    );
    pass(&mut field, &admitted)?;

    drop(size);
    pass(&mut field, &others)?;
    pass(&mut field, &admitted)?;
    counts_are_conntracks(&mut field, 2 * SOURCES)
}

/// Half of them are not assured: conntrack drops those for new ones, and they do not count any more.
pub fn early_drop() -> Result<()> {
    let mut field = Field::new()?;
    pass(&mut field, &all_of(0..SOURCES))?;
    let assured = all_of(0..SOURCES / 2);
    assure(&field, &assured)?;
    let size = ConntrackSize::set(MAX, BUCKETS)?;

    let before = field.in_router(|| statistic("early_drop"))?;
    let arrived = field.pass(&all_of(SOURCES..2 * SOURCES))?;
    let new = arrived.iter().filter(|&&arrived| arrived).count();
    let dropped = field.in_router(|| statistic("early_drop"))? - before;
    ensure!(
        dropped > 50 && new > 50,
        "conntrack dropped {dropped} early, for {new} new ones"
    );
    pass(&mut field, &assured)?;

    drop(size);
    pass(&mut field, &assured)?;
    counts_are_conntracks(&mut field, 2 * SOURCES)
}
