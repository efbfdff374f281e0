// SPDX-License-Identifier: GPL-2.0

//! Decides which test runs when, and says what came of it.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{bail, Result};

use crate::child::{self, Child, Outcome};
use crate::kmemleak::Kmemleak;
use crate::registry::Case;
use crate::suites;
use crate::system;
use crate::variant::Module;

#[derive(Default)]
struct Score {
    passed: usize,
    failed: usize,
}

pub fn run(module: Module, jobs: Option<usize>, cases: &[Case]) -> Result<ExitCode> {
    if cases.is_empty() {
        bail!("no test has such a name");
    }
    load_modules();
    suites::extension::prepare()?;
    let kmemleak = Kmemleak::begin()?;
    let cpus = thread::available_parallelism()?.get();
    // Tests wait now and then.
    let jobs = jobs.unwrap_or(cpus + 1).max(1);
    let (exclusive, parallel): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| case.exclusive);

    let mut score = Score::default();
    run_all(module, parallel.into(), jobs, cpus, &mut score)?;
    run_all(module, exclusive.into(), 1, cpus, &mut score)?;
    if let Some(kmemleak) = kmemleak {
        let found = kmemleak.found()?;
        report(
            &mut score,
            &Outcome {
                name: "kmemleak".to_owned(),
                why: (!found.is_empty()).then_some(found),
                took: Duration::ZERO,
                said: String::new(),
                log: Vec::new(),
            },
        );
    }
    println!("{} passed, {} failed", score.passed, score.failed);
    Ok(if score.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Keeps as many tests going as there are jobs. This process has but one thread, since it forks.
fn run_all(
    module: Module,
    mut queue: VecDeque<&Case>,
    jobs: usize,
    cpus: usize,
    score: &mut Score,
) -> Result<()> {
    let mut slots: Vec<Option<Child>> = (0..jobs).map(|_| None).collect();
    loop {
        for (number, slot) in slots.iter_mut().enumerate() {
            if let Some(outcome) = slot.as_mut().map(Child::outcome).transpose()?.flatten() {
                report(score, &outcome);
                *slot = None;
            }
            if slot.is_none() {
                if let Some(case) = queue.pop_front() {
                    *slot = Some(Child::start(case, module, number % cpus)?);
                }
            }
        }
        let running: Vec<&Child> = slots.iter().flatten().collect();
        if running.is_empty() {
            return Ok(());
        }
        child::wait_for_news(&running)?;
    }
}

fn report(score: &mut Score, outcome: &Outcome) {
    let name = &outcome.name;
    match &outcome.why {
        None => {
            score.passed += 1;
            println!("ok {name} ({:.1} s)", outcome.took.as_secs_f32());
            for line in outcome.said.lines() {
                println!("    {line}");
            }
        }
        Some(why) => {
            score.failed += 1;
            println!("FAILED {name}: {why}");
            for line in &outcome.log {
                println!("    {line}");
            }
        }
    }
}

/// Loads what the first tests would otherwise load all at once, which iptables does not get right:
/// it finds no table whose module another process is just loading. For TUN devices, nothing loads
/// the driver where no udev is there.
fn load_modules() {
    const MODULES: [&str; 11] = [
        "tun",
        "veth",
        "iptable_filter",
        "iptable_mangle",
        "iptable_raw",
        "ip6table_filter",
        "ip6table_mangle",
        "ip6table_raw",
        "nft_compat",
        "nf_conntrack_netlink",
        "nfnetlink_queue",
    ];
    // Where they are built in there is nothing to load; where they are missing, tests say so.
    let _ = system::run("modprobe", &[&["-a", "-q"][..], &MODULES].concat(), "");
}
