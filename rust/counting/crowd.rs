// SPDX-License-Identifier: GPL-2.0

//! Several connections of one key.

use super::{
    answer,
    entry::Entry,
    indexed::Indexed,
    Answer,
    Connection,
    Context,
    Environment,
    Progress,
    Sighting, //
};
use kernel::alloc::AllocError;

/// A crowd of up to so many confirmed connections is verified whole in any jiffy in which a decision
/// depends on it.
const VERIFIED_AT_ONCE: usize = 1024;

/// A larger one is verified by turns, so many connections in a second: at a microsecond for each
/// that would be 5 % of a CPU, and they take less.
const VERIFIED_IN_A_SECOND: u32 = 50_000;

/// So many pending connections are looked up for each packet whose decision depends on it, and
/// [`VERIFIED_AT_ONCE`] for the first one in a jiffy.
const PENDING_AT_ONCE: usize = 32;

/// The verification of the confirmed connections, which goes from the last to the first, so that
/// what takes the place of one that is removed has been verified already.
struct Pass {
    /// The jiffy in which something was verified last, if ever.
    jiffy: Option<u32>,
    /// How many were looked up in it.
    looked_up: usize,
    /// Those before this index are still to be verified.
    left: usize,
}

/// Several connections of one key.
///
/// Those that conntrack had when they were last looked at come first. What became of the others,
/// which are pending, is asked whenever a decision depends on it; of the first ones, once in a
/// jiffy.
pub(super) struct Crowd<C> {
    entries: Indexed<Entry<C>>,
    /// How many are confirmed.
    confirmed: usize,
    /// How many do not count, as they are presumed refused.
    refused: usize,
    pass: Pass,
}

/// What came of looking up the connection at an index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verified {
    /// It is where it was.
    Stayed,
    /// Another one is in its place, or nothing.
    Replaced,
}

impl<C: Connection> Crowd<C> {
    pub(super) fn new() -> Self {
        Self {
            entries: Indexed::new(),
            confirmed: 0,
            refused: 0,
            pass: Pass {
                jiffy: None,
                looked_up: 0,
                left: 0,
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The one that is left, if it is one.
    pub(super) fn only(&self) -> Option<Entry<C>> {
        if self.len() == 1 {
            self.entries.get(0).copied()
        } else {
            None
        }
    }

    /// Decides for a packet, and remembers its connection unless that is over, or assured and was
    /// never seen.
    pub(super) fn decide<K, E: Environment<K, C>>(
        &mut self,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<Answer, AllocError> {
        // Were this packet's one among those presumed refused, it would not be any more.
        if !sighting.progress.is_new() && self.refused == 0 && !self.may_be_over(false, true, limit)
        {
            return Ok(Answer::Under);
        }

        // Nobody looks at the hash of a few.
        let hash = if self.entries.has_index() {
            sighting.connection.hash(sighting.tag, context.hash_key)
        } else {
            0
        };
        let mut known = self.entries.find(hash, |entry| entry.is(sighting));
        if matches!(sighting.progress, Progress::Closed { .. }) {
            // It is not skipped below, as another one may have its ports by now.
            if let Some(index) = known.take() {
                self.verify_at(index, context);
            }
        }
        let itself = sighting.progress.counts(known.is_some());

        let enough = |crowd: &Self| !crowd.may_be_over(known.is_some(), itself, limit);
        if !enough(self) {
            self.verify(sighting, enough, context);
            // What was not looked up may still have moved.
            if known.is_some() {
                known = self.find(sighting, context);
            }
        }

        let answer = answer(self.count(known, itself), limit);
        if let Some(index) = known {
            if let Some(&entry) = self.entries.get(index) {
                let entry = entry.seen_again(sighting.progress, answer, context);
                self.replace(index, entry, context);
            }
        } else if sighting.progress.is_new() {
            self.push(Entry::new(sighting, context.stamp, answer), hash, context)?;
        }
        Ok(answer)
    }

    fn find<K, E>(&self, sighting: &Sighting<C>, context: &Context<'_, K, E>) -> Option<usize> {
        let hash = sighting.connection.hash(sighting.tag, context.hash_key);

        self.entries.find(hash, |entry| entry.is(sighting))
    }

    /// The count for a packet whose connection is at index `known`, and counts if `itself`.
    fn count(&self, known: Option<usize>, itself: bool) -> usize {
        let known = known.and_then(|index| self.entries.get(index));
        let known_counts = known.is_some_and(|entry| !entry.state().refused);
        let others = self
            .len()
            .saturating_sub(self.refused)
            .saturating_sub(known_counts.into());

        others.saturating_add(itself.into()).max(1)
    }

    /// Whether it could be over the limit, were all of those let through that are presumed refused.
    fn may_be_over(&self, known: bool, itself: bool, limit: u32) -> bool {
        let others = self.len().saturating_sub(known.into());

        answer(others.saturating_add(itself.into()).max(1), limit) == Answer::Over
    }

    /// Looks connections up but for that of the packet, until that is `enough` or all were looked up
    /// that are due.
    fn verify<K, E: Environment<K, C>>(
        &mut self,
        sighting: &Sighting<C>,
        enough: impl Fn(&Self) -> bool,
        context: &Context<'_, K, E>,
    ) {
        let is_first = self.pass.jiffy != Some(context.now);
        if is_first {
            self.pass.jiffy = Some(context.now);
            self.pass.looked_up = 0;
            if self.confirmed <= VERIFIED_AT_ONCE || self.pass.left == 0 {
                self.pass.left = self.confirmed;
            }
        }

        let pending_due = if is_first {
            VERIFIED_AT_ONCE
        } else {
            PENDING_AT_ONCE
        };
        let mut index = self.confirmed;
        for _ in 0..pending_due {
            let Some(entry) = self.entries.get(index) else {
                break;
            };
            if entry.is(sighting) {
                index = index.saturating_add(1);
                continue;
            }
            let confirmed = self.confirmed;
            // What is confirmed changes places with the first pending one, which was looked up
            // already, if it is not the same.
            if self.verify_at(index, context) == Verified::Stayed || self.confirmed > confirmed {
                index = index.saturating_add(1);
            }
            if enough(self) {
                return;
            }
        }

        let due = if self.confirmed <= VERIFIED_AT_ONCE {
            VERIFIED_AT_ONCE
        } else {
            (const { VERIFIED_IN_A_SECOND / E::HZ + 1 }) as usize
        };
        while self.pass.looked_up < due {
            let Some(index) = self.pass.left.min(self.confirmed).checked_sub(1) else {
                break;
            };
            self.pass.left = index;
            if self
                .entries
                .get(index)
                .is_some_and(|entry| entry.is(sighting))
            {
                continue;
            }
            self.pass.looked_up = self.pass.looked_up.saturating_add(1);
            if self.verify_at(index, context) == Verified::Replaced && enough(self) {
                return;
            }
        }
    }

    /// Looks up at most `count` connections, of those before index `*before`, from the last to the
    /// first. Returns how many it has looked up.
    pub(super) fn sweep<K, E: Environment<K, C>>(
        &mut self,
        before: &mut usize,
        count: usize,
        context: &Context<'_, K, E>,
    ) -> usize {
        *before = (*before).min(self.len());
        for looked_up in 0..count {
            let Some(index) = before.checked_sub(1) else {
                return looked_up;
            };
            let confirmed = self.confirmed;
            let verified = self.verify_at(index, context);

            // A pending one that has not been looked up may be where one was that is confirmed now.
            if verified == Verified::Stayed || self.confirmed <= confirmed {
                *before = index;
            }
        }
        count
    }

    /// Looks up the connection at `index`, and forgets it if it is gone.
    fn verify_at<K, E: Environment<K, C>>(
        &mut self,
        index: usize,
        context: &Context<'_, K, E>,
    ) -> Verified {
        let Some(&entry) = self.entries.get(index) else {
            return Verified::Stayed;
        };

        match entry.verified(context) {
            Some(entry) => self.replace(index, entry, context),
            None => {
                self.remove(index, context);
                Verified::Replaced
            }
        }
    }

    /// Remembers the only connection that there is so far.
    pub(super) fn push_first<K, E>(
        &mut self,
        entry: Entry<C>,
        context: &Context<'_, K, E>,
    ) -> Result<(), AllocError> {
        self.push(entry, 0, context)
    }

    /// Remembers a connection, which has this hash.
    fn push<K, E>(
        &mut self,
        entry: Entry<C>,
        hash: u32,
        context: &Context<'_, K, E>,
    ) -> Result<(), AllocError> {
        let index = self.len();
        let state = entry.state();

        self.entries.push(entry, hash, context.hash_key)?;
        self.refused = self.refused.saturating_add(state.refused.into());
        if state.confirmed {
            self.entries.swap(index, self.confirmed, context.hash_key);
            self.confirmed = self.confirmed.saturating_add(1);
        }
        Ok(())
    }

    /// Remembers an entry that another one of the same connection is at `index`.
    fn replace<K, E>(
        &mut self,
        index: usize,
        entry: Entry<C>,
        context: &Context<'_, K, E>,
    ) -> Verified {
        let Some(place) = self.entries.get_mut(index) else {
            return Verified::Stayed;
        };
        let (old, new) = (place.state(), entry.state());
        *place = entry;

        self.refused = self.refused.saturating_sub(old.refused.into());
        self.refused = self.refused.saturating_add(new.refused.into());
        if old.confirmed == new.confirmed {
            return Verified::Stayed;
        }
        let other = if new.confirmed {
            let first_pending = self.confirmed;
            self.confirmed = first_pending.saturating_add(1);
            first_pending
        } else {
            self.confirmed = self.confirmed.saturating_sub(1);
            self.confirmed
        };
        if other == index {
            return Verified::Stayed;
        }
        self.entries.swap(index, other, context.hash_key);
        Verified::Replaced
    }

    /// Forgets the connection at `index`.
    fn remove<K, E>(&mut self, mut index: usize, context: &Context<'_, K, E>) {
        let Some(state) = self.entries.get(index).map(Entry::state) else {
            return;
        };

        self.refused = self.refused.saturating_sub(state.refused.into());
        if state.confirmed {
            self.confirmed = self.confirmed.saturating_sub(1);
            self.entries.swap(index, self.confirmed, context.hash_key);
            index = self.confirmed;
        }
        self.entries.remove(index, context.hash_key);
    }
}
