// SPDX-License-Identifier: GPL-2.0

//! A namespace with one rule, and one key that all CPUs open connections of.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use super::account::{Account, Disturbance, LIMIT};
use super::dice::Dice;
use super::post::{Attempt, Post};
use super::tally::{Tally, Work};
use super::watch::Watch;
use crate::conntrack;
use crate::net::address;
use crate::net::link;
use crate::net::netns::Netns;
use crate::net::route;
use crate::net::tun::Tun;
use crate::rules::{legacy, limit, nft, Chain, Iptables, Ruleset, Target};
use crate::system;
use crate::variant::{Family, FrontEnd, Transport};

/// The device that leads to clients of other keys.
const OTHERS: &str = "others";

pub struct Site {
    pub netns: Netns,
    pub iptables: Iptables,
    /// Whether the rule stays and conntrack is not flushed.
    pub is_quiet: bool,
    pub account: Account,
    rules: Ruleset,
    _others: Tun,
}

impl Site {
    /// With what each CPU sends by.
    pub fn new(iptables: Iptables, is_quiet: bool, cpus: usize) -> Result<(Self, Vec<Post>)> {
        let family = iptables.family;
        let rule = limit(LIMIT).mask(Post::mask(family)).target(Target::Drop);
        let rule = format!("{} -j DROP", rule.matches());
        let netns = Netns::new()?;
        let site = Self {
            _others: netns.within(|| Tun::new(OTHERS))?,
            netns,
            iptables,
            is_quiet,
            account: Account::default(),
            rules: Ruleset::default().filter(Chain::Input, rule),
        };
        let posts = site.netns.within(|| {
            let posts = (0..cpus)
                .map(|cpu| Post::new(family, cpu.try_into()?))
                .collect::<Result<_>>()?;
            route::add_local(address::servers(family))?;
            // All other clients are beyond another device. What is sent to them is lost.
            route::set_up(OTHERS)?;
            route::add((address::any(family), 0), OTHERS)?;
            // Nothing ends by itself, and what has ended goes soon.
            for name in ["udp_timeout", "udp_timeout_stream"] {
                link::conntrack_timeout(name, 100_000)?;
            }
            for name in ["tcp_timeout_time_wait", "tcp_timeout_close"] {
                link::conntrack_timeout(name, 2)?;
            }
            // A server whose last packet to a client was lost keeps the namespace for minutes.
            link::sysctl("net/ipv4/tcp_orphan_retries", "1")?;
            site.iptables.restore(&site.rules)?;
            Ok(posts)
        })?;
        Ok((site, posts))
    }

    /// Disturbs the site in all ways in turn, each time that as many connections are open as may be.
    pub fn disturb(&self, watch: &Watch, tally: &Tally, seed: u64) -> Result<()> {
        /// Where connections come slowly.
        const PATIENCE: Duration = Duration::from_secs(10);
        const WAYS: usize = 4;
        let mut dice = Dice::new(seed);
        self.netns.enter()?;
        for turn in (0..).take_while(|&turn| watch.goes_on_or(turn < WAYS)) {
            let since = Instant::now();
            while watch.goes_on() && !self.account.is_full() && since.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(2));
            }
            if self.account.is_full() {
                tally.note(Work::Filled);
            }
            thread::sleep(Duration::from_millis(dice.roll() % 128));
            let work = match (turn % WAYS, self.iptables.front_end) {
                (0, _) => {
                    self.account.disturb(Disturbance::Flush, conntrack::flush)?;
                    Work::Flush
                }
                (1, _) => {
                    let saved = self.iptables.save("filter")?;
                    self.replace(|| self.iptables.restore_saved(&saved))?;
                    Work::RestoredSaved
                }
                (2, FrontEnd::Legacy) => {
                    self.replace(|| self.iptables.restore(&self.rules))?;
                    Work::Replaced
                }
                (_, FrontEnd::Legacy) => {
                    let read = || legacy::Table::read(self.iptables.family, "filter");
                    self.replace(|| read()?.replace())?;
                    Work::Replaced
                }
                (2, FrontEnd::Nft) => {
                    self.replace(|| {
                        nft::delete_table(self.iptables.family, "filter")?;
                        self.iptables.restore(&self.rules)
                    })?;
                    Work::TableDeleted
                }
                (_, FrontEnd::Nft) => {
                    self.add_another()?;
                    Work::Added
                }
            };
            tally.note(work);
        }
        Ok(())
    }

    /// In nftables another rule comes and goes without disturbing this one.
    fn add_another(&self) -> Result<()> {
        let rules = || nft::rules(self.iptables.family, "filter", Chain::Input);
        rules()?
            .first()
            .context("the rule is not there")?
            .append()?;
        let rules = rules()?;
        ensure!(rules.len() == 2, "{} rules, not 2", rules.len());
        rules[1].delete()
    }

    fn replace(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.account.disturb(Disturbance::Rule, work)
    }

    /// When all have ended their connections, there is room for as many again, and for no more.
    pub fn has_room(&self, post: &mut Post) -> Result<()> {
        self.netns.within(|| {
            system::settle()?;
            let left = conntrack::list()?;
            let mut open = Vec::new();
            for attempt in post.attempts(Transport::Udp, 3 * LIMIT as usize)? {
                if let Attempt::LetThrough(connection) = attempt {
                    open.push(connection);
                }
            }
            let room = u32::try_from(open.len())?;
            ensure!(
                room == LIMIT,
                "{}: there was room for {room}, not for {LIMIT}; before, conntrack had {:?}",
                self.iptables.name(),
                left.iter()
                    .filter(|entry| post.is_of_key(&entry.tuple))
                    .collect::<Vec<_>>()
            );
            open.into_iter()
                .try_for_each(|connection| post.abandon(connection))
        })
    }
}

/// Where each is disturbed in its own way.
pub fn all(cpus: usize) -> Result<Vec<(Site, Vec<Post>)>> {
    [
        (Family::Ipv4, FrontEnd::Nft, true),
        (Family::Ipv4, FrontEnd::Legacy, false),
        (Family::Ipv6, FrontEnd::Nft, false),
    ]
    .into_iter()
    .map(|(family, front_end, is_quiet)| Site::new(Iptables { family, front_end }, is_quiet, cpus))
    .collect()
}
