// SPDX-License-Identifier: GPL-2.0

//! Opens, uses and ends connections of the one key of a site, on one CPU.

use anyhow::{ensure, Result};

use super::account::Epoch;
use super::dice::Dice;
use super::post::{Attempt, Connection, End, Post};
use super::site::Site;
use super::tally::{Tally, Work};
use super::watch::Watch;
use crate::conntrack;
use crate::system;
use crate::variant::Transport;

struct Open {
    connection: Connection,
    /// When it was opened.
    epoch: Epoch,
}

pub struct Sender<'a> {
    site: &'a Site,
    post: &'a mut Post,
    tally: &'a Tally,
    dice: Dice,
    open: Vec<Open>,
}

impl<'a> Sender<'a> {
    pub fn new(site: &'a Site, post: &'a mut Post, tally: &'a Tally, seed: u64) -> Self {
        Self {
            site,
            post,
            tally,
            dice: Dice::new(seed),
            open: Vec::new(),
        }
    }

    pub fn run(mut self, cpu: usize, watch: &Watch) -> Result<()> {
        self.site.netns.enter()?;
        system::pin_to_cpu(cpu)?;
        while watch.goes_on() {
            self.post.scatter(self.dice.roll())?;
            self.tally.note(Work::Scattered);
            for transport in Transport::ALL {
                self.attempt(transport, cpu)?;
            }
            self.use_one()?;
            if self.dice.one_in(2) {
                self.end_one()?;
            }
        }
        for Open { connection, epoch } in self.open {
            self.site.account.ends(epoch);
            self.post.abandon(connection)?;
        }
        Ok(())
    }

    /// Tries to open some connections.
    fn attempt(&mut self, transport: Transport, cpu: usize) -> Result<()> {
        const AT_ONCE: usize = 5;
        let epoch = self.site.account.epoch();
        for attempt in self.post.attempts(transport, AT_ONCE)? {
            self.tally.note(Work::Attempt);
            match attempt {
                Attempt::LetThrough(connection) => {
                    self.tally.note_on_cpu(cpu, true);
                    self.let_through(connection, epoch)?;
                }
                Attempt::Refused => {
                    self.tally.note_on_cpu(cpu, false);
                    self.tally.note(Work::Refused);
                }
            }
        }
        Ok(())
    }

    fn let_through(&mut self, mut connection: Connection, epoch: Epoch) -> Result<()> {
        let counts = self.site.account.opened(epoch)?;
        let whole = self.post.complete(&mut connection)?;
        if counts {
            self.tally.note(Work::Admitted);
            ensure!(
                whole || self.flushed_since(epoch),
                "the third packet of {:?} was not let through",
                connection.flow.tuple
            );
            self.open.push(Open { connection, epoch });
            Ok(())
        } else {
            self.post.abandon(connection)
        }
    }

    fn flushed_since(&self, epoch: Epoch) -> bool {
        self.site.account.epoch().flushes != epoch.flushes
    }

    /// Sends data in a connection, which is let through as long as conntrack knows it, whatever
    /// becomes of the rule.
    fn use_one(&mut self) -> Result<()> {
        let account = &self.site.account;
        if self.open.is_empty() {
            return Ok(());
        }
        // Those that are old go soon.
        let now = account.epoch();
        let old = self.open.iter().position(|open| open.epoch != now);
        let index = old.unwrap_or_else(|| self.dice.below(self.open.len()));
        let Open { connection, epoch } = &self.open[index];
        let epoch = *epoch;
        let is_old = account.epoch() != epoch;
        // Another rule has not seen it, and counts it as any other if it is not assured.
        let assured = connection.flow.tuple.transport == Transport::Tcp;
        if !is_old || (assured && !self.flushed_since(epoch)) {
            let let_through = self.post.data(&mut self.open[index].connection)?;
            let still_new = account.epoch() == epoch;
            if still_new || (assured && !self.flushed_since(epoch)) {
                ensure!(
                    let_through,
                    "a packet of {:?}, which is open, was not let through",
                    self.open[index].connection.flow.tuple
                );
                self.tally
                    .note(if is_old { Work::OldData } else { Work::Data });
            }
            if !is_old {
                return Ok(());
            }
        }
        let old = self.open.swap_remove(index);
        self.post.abandon(old.connection)
    }

    fn end_one(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let index = self.dice.below(self.open.len());
        let Open { connection, epoch } = self.open.swap_remove(index);
        self.site.account.ends(epoch);
        let how = [End::Reset, End::Finish, End::Delete][self.dice.below(3)];
        let tuple = connection.flow.tuple;
        let ended = self.post.end(connection, how);
        if self.flushed_since(epoch) {
            // Its last packets may have made another one.
            let _ = conntrack::delete(&tuple);
            return Ok(());
        }
        self.tally.note(match how {
            End::Delete => Work::Deleted,
            End::Reset | End::Finish => Work::Ended,
        });
        ended
    }
}
