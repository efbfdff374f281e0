// SPDX-License-Identifier: GPL-2.0

//! There is no memory for one allocation in five of those that packets need, conntrack's own, those of
//! the network and the match's alike. It takes a kernel with failslab.

use anyhow::{bail, ensure, Result};

use super::counts_are_conntracks;
use super::field::{connection, Field, LIMIT};
use crate::conntrack::Tuple;
use crate::failslab::Share;
use crate::module;

const SOURCES: u32 = 40;
const PERCENT: u8 = 20;

pub fn memory_pressure() -> Result<()> {
    let mut field = Field::new()?;
    let older: Vec<Tuple> = (0..LIMIT)
        .map(|number| connection(SOURCES, number))
        .collect();
    let arrived = field.pass(&older)?;
    ensure!(!arrived.contains(&false), "one of the first was lost");

    let no_memory = module::dropped("no_memory")?;
    let lost = {
        let _share = Share::of_hundred(PERCENT)?;
        let mut lost = 0;
        let mut admitted = [0; SOURCES as usize];
        for number in 0..LIMIT + 5 {
            let round: Vec<Tuple> = (0..SOURCES)
                .map(|source| connection(source, number))
                .collect();
            let arrived = field.pass(&round)?;
            lost += arrived.iter().filter(|&&arrived| !arrived).count();
            for (admitted, arrived) in admitted.iter_mut().zip(arrived) {
                *admitted += u16::from(arrived);
            }
        }
        let most = admitted.iter().max();
        ensure!(most <= Some(&LIMIT), "{most:?} of one source are open");
        go_on(&mut field, older.clone())?;
        lost
    };
    let no_memory = module::dropped("no_memory")? - no_memory;
    ensure!(no_memory > 0, "the match has never been without memory");
    println!(
        "{lost} packets were lost or refused, {no_memory} of them by the match for lack of memory"
    );

    let arrived = field.pass(&older)?;
    ensure!(
        !arrived.contains(&false),
        "an older connection is disturbed"
    );
    counts_are_conntracks(&mut field, SOURCES + 1)
}

/// Each packet arrives, sooner or later: the network has no memory for some.
fn go_on(field: &mut Field, mut connections: Vec<Tuple>) -> Result<()> {
    const TIMES: u32 = 50;
    for _ in 0..TIMES {
        let mut arrived = field.pass(&connections)?.into_iter();
        connections.retain(|_| arrived.next() == Some(false));
        if connections.is_empty() {
            return Ok(());
        }
    }
    bail!("packets of {connections:?} do not arrive");
}
