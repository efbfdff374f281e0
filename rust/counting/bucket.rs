// SPDX-License-Identifier: GPL-2.0

//! The connections of one key.

use super::{
    entry::Entry,
    Answer,
    Environment,
    Moment,
    Progress,
    Sighting, //
};
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// Buckets of up to so many connections are verified whenever a decision depends on it, larger ones
/// once in a jiffy.
const ALWAYS_VERIFIED: usize = 32;

/// At most so many connections are looked up at once. A larger bucket is verified by turns.
const LOOKED_UP_AT_ONCE: usize = 1024;

/// How many connections are looked up for each one that is added, so that those that are gone are
/// found also where no decision depends on them.
const LOOKED_UP_PER_ADDED: usize = 2;

/// The connections of one key.
pub(super) struct Bucket<C> {
    entries: KVec<Entry<C>>,
    /// Where the next verification goes on.
    next: usize,
    /// The jiffy of the last one.
    verified: Option<u32>,
}

/// What counts in a bucket beside the connection of a packet.
struct Others {
    counted: usize,
    presumed_refused: usize,
}

impl<C: Copy + Eq> Bucket<C> {
    /// Makes a bucket that remembers nothing.
    pub(super) const fn new() -> Self {
        Self {
            entries: KVec::new(),
            next: 0,
            verified: None,
        }
    }

    /// Whether there is nothing to remember any more.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Decides for a packet, and remembers its connection unless that is assured and was never
    /// seen.
    ///
    /// # Errors
    ///
    /// If there is no memory to remember it. Then it is not.
    pub(super) fn decide(
        &mut self,
        sighting: &Sighting<'_, C>,
        limit: u32,
        moment: &Moment,
        environment: &impl Environment<C>,
    ) -> Result<Answer, AllocError> {
        let others = self.others(sighting, limit, moment, environment);
        let known = self
            .entries
            .iter_mut()
            .find(|entry| entry.is(sighting.connection));

        if known.is_none() && sighting.progress == Progress::Assured {
            return Ok(answer(others.counted.max(1), limit));
        }

        let answer = answer(others.counted.saturating_add(1), limit);
        if let Some(entry) = known {
            entry.update(sighting, moment, answer);
        } else {
            self.entries
                .push(Entry::new(sighting, moment, answer), GFP_ATOMIC)?;
        }
        Ok(answer)
    }

    /// Counts the other connections, having verified as many of them as the decision depends on.
    fn others(
        &mut self,
        sighting: &Sighting<'_, C>,
        limit: u32,
        moment: &Moment,
        environment: &impl Environment<C>,
    ) -> Others {
        let others = self.count_others(sighting.connection);

        // Verification can turn "over" into "under", when connections are gone, and the other way
        // round only when one that is presumed refused was let through.
        let decided = others.presumed_refused == 0
            && answer(others.counted.saturating_add(1), limit) == Answer::Under;
        let looked_up = if decided {
            LOOKED_UP_PER_ADDED
        } else if self.entries.len() <= ALWAYS_VERIFIED || self.verified != Some(moment.now) {
            self.verified = Some(moment.now);
            LOOKED_UP_AT_ONCE
        } else {
            0
        };

        if looked_up == 0 {
            return others;
        }
        self.verify(looked_up, moment, Some(sighting.connection), environment);
        self.count_others(sighting.connection)
    }

    fn count_others(&self, connection: &C) -> Others {
        let mut others = Others {
            counted: 0,
            presumed_refused: 0,
        };

        for entry in self.entries.iter().filter(|entry| !entry.is(connection)) {
            if entry.counts() {
                others.counted += 1;
            } else {
                others.presumed_refused += 1;
            }
        }
        others
    }

    /// Looks up at most `count` connections but for `except`, and forgets those that are gone.
    pub(super) fn verify(
        &mut self,
        count: usize,
        moment: &Moment,
        except: Option<&C>,
        environment: &impl Environment<C>,
    ) {
        // Each turn either goes on to the next entry or takes one away, so that all of them have
        // been seen after as many turns as there were entries.
        for _ in 0..count.min(self.entries.len()) {
            if self.next >= self.entries.len() {
                self.next = 0;
            }
            let Some(entry) = self.entries.get_mut(self.next) else {
                return;
            };

            if except.is_some_and(|connection| entry.is(connection))
                || entry.verify(environment, moment)
            {
                self.next += 1;
            } else {
                self.forget(self.next);
            }
        }
    }

    /// Forgets the entry at `index`. The last one takes its place.
    fn forget(&mut self, index: usize) {
        if let Some(last) = self.entries.pop() {
            if let Some(entry) = self.entries.get_mut(index) {
                *entry = last;
            }
        }
    }
}

/// Whether `count` connections are too many.
fn answer(count: usize, limit: u32) -> Answer {
    // A limit that does not fit into a `usize` cannot be exceeded.
    if usize::try_from(limit).is_ok_and(|limit| count > limit) {
        Answer::Over
    } else {
        Answer::Under
    }
}
