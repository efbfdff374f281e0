// SPDX-License-Identifier: GPL-2.0

//! How many connections are open at a site by the account of those who have opened them: each was
//! let through, and its end has not begun. No word of the match or of conntrack goes into it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{ensure, Result};

/// How many connections the rules of all sites allow.
pub const LIMIT: u32 = 6;

/// Between which disturbances something happens. A number is odd while one goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// In a new one the rule counts from nothing.
    number: u64,
    /// In a new one conntrack knows no connection.
    pub flushes: u64,
}

#[derive(Default)]
struct State {
    epoch: Epoch,
    open: u32,
    most: u32,
}

/// What is disturbed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// The rule goes, and another one like it may come.
    Rule,
    /// All connections are taken out of conntrack.
    Flush,
}

#[derive(Default)]
pub struct Account(Mutex<State>);

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn epoch(&self) -> Epoch {
        self.state().epoch
    }

    pub fn open(&self) -> u32 {
        self.state().open
    }

    /// The most connections that were ever open at once.
    pub fn most(&self) -> u32 {
        self.state().most
    }

    /// Notes a connection that was let through, all of whose packets were sent in `epoch`. Returns
    /// whether it counts: in another epoch there is nothing to compare it with.
    pub fn opened(&self, epoch: Epoch) -> Result<bool> {
        let mut state = self.state();
        if state.epoch != epoch || epoch.number % 2 == 1 {
            return Ok(false);
        }
        state.open += 1;
        state.most = state.most.max(state.open);
        ensure!(
            state.open <= LIMIT,
            "{} connections are open at once where no more than {LIMIT} may be",
            state.open
        );
        Ok(true)
    }

    /// Notes that a connection that counted is about to end.
    pub fn ends(&self, epoch: Epoch) {
        let mut state = self.state();
        if state.epoch == epoch {
            state.open -= 1;
        }
    }

    /// Whether as many are open as may be.
    pub fn is_full(&self) -> bool {
        self.open() == LIMIT
    }

    /// Does `work`, during which nothing counts, and after which a new epoch begins.
    pub fn disturb(&self, what: Disturbance, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let turn = || {
            let mut state = self.state();
            state.epoch.number += 1;
            if what == Disturbance::Flush {
                state.epoch.flushes += 1;
            }
            state.open = 0;
        };
        turn();
        let result = work();
        turn();
        result
    }
}
