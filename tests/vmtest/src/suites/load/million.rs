// SPDX-License-Identifier: GPL-2.0

//! A million connections of 200,000 sources. It needs minutes:
//!
//!     scripts/vm --memory 4096 --timeout 1800 -- 'vmtest run --match rs --slow load/million'

use std::fs;
use std::time::Instant;

use anyhow::{ensure, Context, Result};

use super::field::{connection, Field, LIMIT};
use crate::conntrack::{self, Tuple};
use crate::conntrack_size::ConntrackSize;

const SOURCES: u32 = 200_000;

/// One in ten tries more than the limit.
fn attempts(source: u32) -> u16 {
    if source % 10 == 0 {
        LIMIT + 5
    } else {
        3
    }
}

pub fn million() -> Result<()> {
    let _size = ConntrackSize::set(1_500_000, 262_144)?;
    let mut field = Field::new()?;
    let memory = available_memory()?;
    let start = Instant::now();

    // Those of one source come far apart.
    let mut admitted = vec![0_u16; SOURCES as usize];
    let mut sent = 0;
    for number in 0..LIMIT + 5 {
        let round: Vec<Tuple> = (0..SOURCES)
            .filter(|&source| number < attempts(source))
            .map(|source| connection(source, number))
            .collect();
        sent += round.len() as u64;
        let sources = (0..SOURCES).filter(|&source| number < attempts(source));
        for (source, arrived) in sources.zip(field.pass(&round)?) {
            admitted[source as usize] += u16::from(arrived);
        }
    }
    for (source, &admitted) in (0..SOURCES).zip(&admitted) {
        let expected = attempts(source).min(LIMIT);
        ensure!(
            admitted == expected,
            "source {source}: {admitted} were admitted, not {expected}"
        );
    }
    let connections: u64 = admitted.iter().copied().map(u64::from).sum();
    let refused = field.refused()?;
    ensure!(
        connections + refused == sent,
        "of {sent} packets {connections} arrived and {refused} were refused"
    );
    println!(
        "{sent} first packets of {SOURCES} sources in {:.0} s: {connections} connections, {refused} refused",
        start.elapsed().as_secs_f32()
    );
    println!(
        "{} MiB of memory went to them",
        (memory - available_memory()?) / 1024
    );

    // Those that were admitted go on, and no other one gets in.
    for source in (0..SOURCES).step_by(97) {
        let all: Vec<Tuple> = (0..attempts(source))
            .map(|number| connection(source, number))
            .collect();
        for (number, arrived) in field.pass(&all)?.into_iter().enumerate() {
            let expected = number < usize::from(LIMIT);
            ensure!(
                arrived == expected,
                "connection {number} of source {source}: {arrived} that its next packet arrived"
            );
        }
    }

    let start = Instant::now();
    field.in_router(conntrack::flush)?;
    println!("conntrack -F took {:.1} s", start.elapsed().as_secs_f32());
    super::counts_are_conntracks(&mut field, 100)
}

/// In KiB.
fn available_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let line = line.context("/proc/meminfo does not tell MemAvailable")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
