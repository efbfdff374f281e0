// SPDX-License-Identifier: GPL-2.0

//! All at once: all CPUs open connections of one key, while rules are replaced, conntrack is
//! flushed, namespaces die, and the module is loaded and unloaded.
//!
//! What is let through is seen from outside. At no time more than the limit may be open that were
//! let through by one rule, and no packet of one that is open may be lost.

mod account;
mod dice;
mod namespaces;
mod post;
mod reader;
mod sender;
mod site;
mod tally;
mod unload;
mod watch;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::module::Reload;
use crate::registry::{Case, Registry};
use crate::system;
use crate::variant::{FrontEnd, Module};

use account::LIMIT;
use sender::Sender;
use site::Site;
use tally::Tally;
use watch::Watch;

/// The soak, which takes so many seconds, and a few more.
pub fn cases(seconds: u64) -> Vec<Case> {
    /// For setting up and taking down, in each round.
    const MORE: u64 = 120;
    let mut registry = Registry::default();
    registry
        .add("soak", move |module| soak(module, seconds))
        .exclusive()
        .timeout(2 * seconds + MORE);
    registry.into_cases()
}

fn soak(module: Module, seconds: u64) -> Result<()> {
    /// How long a module stays.
    const ROUND: Duration = Duration::from_secs(60);
    /// How long it comes and goes between two rounds.
    const PAUSE: Duration = Duration::from_secs(2);
    let _reload = Reload(module);
    let cpus = system::cpus()?;
    let length = Duration::from_secs(seconds);
    let round = ROUND.min(length / 2);
    let (tally, start) = (Tally::new(cpus), Instant::now());
    let mut most = 0;
    let mut rounds = 0;
    let result = loop {
        rounds += 1;
        let result = one_round(cpus, round, rounds, &tally)
            .map(|open| most = most.max(open))
            .and_then(|()| unload::between_rules(&tally))
            .and_then(|()| come_and_go(PAUSE.min(round), &tally));
        if result.is_err() || start.elapsed() >= length {
            break result;
        }
    };
    let took = start.elapsed().as_secs();
    println!("{took} s on {cpus} CPUs, {rounds} rounds");
    print!("{tally}");
    println!("{most:>9} open at once at most, where the limit is {LIMIT}");
    result.and_then(|()| tally.check(seconds))
}

/// Returns how many were open at once at most.
fn one_round(cpus: usize, length: Duration, seed: u64, tally: &Tally) -> Result<u32> {
    let mut all = site::all(cpus)?;
    let watch = Watch::new(length);
    let (sites, posts): (Vec<&Site>, Vec<_>) =
        all.iter_mut().map(|(site, posts)| (&*site, posts)).unzip();
    thread::scope(|scope| {
        let watch = &watch;
        for (&site, posts) in sites.iter().zip(posts) {
            for (cpu, post) in posts.iter_mut().enumerate() {
                let sender = Sender::new(site, post, tally, (seed << 8) | cpu as u64);
                let name = format!("sender on CPU {cpu}, {}", site.iptables.name());
                scope.spawn(move || watch.over(&name, || sender.run(cpu, watch)));
            }
            if !site.is_quiet {
                scope.spawn(move || watch.over("disturber", || site.disturb(watch, tally, seed)));
            }
        }
        for front_end in FrontEnd::ALL {
            scope.spawn(move || {
                watch.over("namespaces", || namespaces::run(front_end, watch, tally))
            });
        }
        scope.spawn(|| watch.over("reader", || reader::run(&sites, watch, tally)));
        scope.spawn(|| watch.over("rmmod", || unload::is_refused(watch, tally)));
    });
    watch.outcome()?;
    for (site, posts) in &mut all {
        site.has_room(&mut posts[0])?;
    }
    let most = all.iter().map(|(site, _)| site.account.most()).max();
    Ok(most.unwrap_or_default())
}

/// The module comes and goes while rules do.
fn come_and_go(length: Duration, tally: &Tally) -> Result<()> {
    let watch = Watch::new(length);
    thread::scope(|scope| {
        let watch = &watch;
        for front_end in FrontEnd::ALL {
            scope.spawn(move || {
                watch.over("rules", || unload::rules_meanwhile(front_end, watch, tally))
            });
        }
        scope.spawn(|| watch.over("insmod", || unload::again_and_again(watch, tally)));
    });
    watch.outcome()
}
