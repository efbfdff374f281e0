// SPDX-License-Identifier: GPL-2.0

//! What was done, and what has to have been done for the soak to show anything.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{ensure, Result};

#[derive(Clone, Copy)]
pub enum Work {
    Attempt,
    Admitted,
    Refused,
    Data,
    OldData,
    Ended,
    Deleted,
    Scattered,
    Flush,
    Replaced,
    RestoredSaved,
    Added,
    TableDeleted,
    Filled,
    Read,
    Namespace,
    RealConnection,
    UnloadRefused,
    Unloaded,
    RuleInTime,
    RuleTooLate,
}

/// What each is, how many there are at least, even where the CPUs have much else to do, and in ten minutes
/// on the slowest machine.
const ALL: [(Work, &str, u64, u64); 21] = [
    (Work::Attempt, "connections tried", 20, 1000),
    (Work::Admitted, "admitted", 2, 100),
    (Work::Refused, "refused", 2, 100),
    (
        Work::Data,
        "packets of admitted ones, all let through",
        2,
        100,
    ),
    (Work::OldData, "of those older than the rule", 0, 2),
    (Work::Ended, "ended by their ends", 1, 30),
    (Work::Deleted, "ended by conntrack -D", 1, 20),
    (Work::Scattered, "packets of other clients", 10, 500),
    (Work::Flush, "conntrack -F", 1, 5),
    (Work::Replaced, "rules replaced", 1, 5),
    (Work::RestoredSaved, "rules replaced, counters kept", 1, 0),
    (Work::Added, "rules added and taken away", 1, 0),
    (Work::TableDeleted, "tables deleted and made anew", 1, 0),
    (Work::Filled, "times that the limit was reached", 1, 2),
    (Work::Read, "rules read", 2, 100),
    (Work::Namespace, "namespaces that died", 1, 5),
    (Work::RealConnection, "real connections in them", 1, 10),
    (Work::UnloadRefused, "rmmod refused", 1, 100),
    (Work::Unloaded, "rmmod and insmod", 1, 10),
    (Work::RuleInTime, "rules made while it came and went", 1, 10),
    (Work::RuleTooLate, "refused as it was not there", 1, 10),
];

pub struct Tally {
    counts: [AtomicU64; ALL.len()],
    /// How many connections each CPU was let and not let open.
    on_cpus: Vec<[AtomicU64; 2]>,
}

impl Tally {
    pub fn new(cpus: usize) -> Self {
        Self {
            counts: Default::default(),
            on_cpus: (0..cpus).map(|_| Default::default()).collect(),
        }
    }

    pub fn note(&self, work: Work) {
        self.counts[work as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn note_on_cpu(&self, cpu: usize, let_through: bool) {
        self.on_cpus[cpu][usize::from(let_through)].fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, work: Work) -> u64 {
        self.counts[work as usize].load(Ordering::Relaxed)
    }

    /// No worker has stood still.
    pub fn check(&self, seconds: u64) -> Result<()> {
        for (work, what, least, in_ten_minutes) in ALL {
            let least = least.max(in_ten_minutes * seconds / 600);
            let count = self.count(work);
            ensure!(count >= least, "{what}: {count}, fewer than {least}");
        }
        for (cpu, counts) in self.on_cpus.iter().enumerate() {
            let tried = counts.iter().any(|count| count.load(Ordering::Relaxed) > 0);
            ensure!(tried, "nothing was tried on CPU {cpu}");
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (work, what, ..) in ALL {
            writeln!(f, "{:>9} {what}", self.count(work))?;
        }
        Ok(())
    }
}
