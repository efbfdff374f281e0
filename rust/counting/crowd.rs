// SPDX-License-Identifier: GPL-2.0

//! Several connections of one key.

use super::{
    bucket::Census,
    entry::{
        Entry,
        SECONDS_LOST, //
    },
    indexed::Indexed,
    rules::{
        Change,
        Measure,
        State, //
    },
    Answer,
    Connection,
    Context,
    Environment,
    Sighting, //
};
use kernel::alloc::AllocError;

/// A crowd of up to so many settled connections is verified whole in any jiffy in which a decision
/// depends on it.
const VERIFIED_AT_ONCE: usize = 1024;

/// A larger one is verified by turns, so many connections in a second: at a microsecond for each
/// that would be 5 % of a CPU, and they take less.
const VERIFIED_IN_A_SECOND: u32 = 50_000;

/// So many unsettled connections are looked up for each packet whose decision depends on it, and
/// [`VERIFIED_AT_ONCE`] for the first one in a jiffy.
const UNSETTLED_AT_ONCE: usize = 32;

/// The verification of the settled connections, which goes from the last to the first, so that
/// what takes the place of one that is removed has been verified already.
struct Pass {
    /// The jiffy in which something was verified last, if ever.
    jiffy: Option<u32>,
    /// How many were looked up in it.
    looked_up: usize,
    /// Those before this index are still to be verified.
    left: usize,
}

/// How many connections are in each state.
struct Tally([usize; 1 << State::BITS]);

impl Tally {
    fn of(&self, state: State) -> usize {
        self.0[state as usize]
    }

    fn add(&mut self, state: State) {
        let count = &mut self.0[state as usize];
        *count = count.saturating_add(1);
    }

    fn take(&mut self, state: State) {
        let count = &mut self.0[state as usize];
        *count = count.saturating_sub(1);
    }

    fn sum(&self, which: impl Fn(State) -> bool) -> usize {
        let mut sum = 0usize;

        for (number, count) in (0u32..).zip(self.0) {
            if which(State::from_bits(number)) {
                sum = sum.saturating_add(count);
            }
        }
        sum
    }
}

/// Several connections of one key.
///
/// # Invariants
///
/// - `tally` has the states of all `entries`.
/// - The first `settled` entries are those that are neither unsettled nor refused. They are verified
///   once in a jiffy in which a decision depends on them.
/// - The next ones, up to `refused`, are refused. No decision depends on them.
/// - The others are unsettled. They are verified whenever a decision depends on them.
pub(super) struct Crowd<C> {
    entries: Indexed<Entry<C>>,
    tally: Tally,
    settled: usize,
    refused: usize,
    pass: Pass,
    /// The jiffy in which one was forgotten last that may arrive still, as there was no room for more
    /// that are lost.
    has_forgotten: Option<u32>,
}

/// What came of looking up the connection at an index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verified {
    /// It is where it was.
    Stayed,
    /// It has gone to a part further ahead. Another one is in its place.
    Moved,
    /// It is gone. One from further behind is in its place, or none.
    Removed,
}

impl<C: Connection> Crowd<C> {
    pub(super) fn new() -> Self {
        // INVARIANT: There are no entries.
        Self {
            entries: Indexed::new(),
            tally: Tally([0; 1 << State::BITS]),
            settled: 0,
            refused: 0,
            pass: Pass {
                jiffy: None,
                looked_up: 0,
                left: 0,
            },
            has_forgotten: None,
        }
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn census(&self) -> Census {
        Census {
            all: self.len(),
            lost: self.tally.of(State::Lost),
        }
    }

    /// The one that is left, if it is one and all there is to know.
    pub(super) fn only<K, E: Environment<K, C>>(
        &self,
        context: &Context<'_, K, E>,
    ) -> Option<Entry<C>> {
        if self.len() == 1 && !self.may_have_forgotten(context) {
            self.entries.get(0).copied()
        } else {
            None
        }
    }

    /// Decides for a packet, and remembers of its connection what there is to remember.
    ///
    /// # Errors
    ///
    /// If there is no memory to remember a connection that begins. Then it is not.
    pub(super) fn decide<K, E: Environment<K, C>>(
        &mut self,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<Answer, AllocError> {
        self.note_forgotten(context);
        let may_have_forgotten = self.may_have_forgotten(context);
        let mut kind = sighting.kind;
        if kind.is_assured_live()
            && self.tally.sum(State::is_exceptional) == 0
            && !may_have_forgotten
        {
            return Ok(Answer::Under);
        }

        // A few have no index, so the hash is not used.
        let hash = if self.entries.has_index() {
            sighting.connection.hash(sighting.tag, context.hash_key)
        } else {
            0
        };
        let is_it = |entry: &Entry<C>| entry.is(sighting);
        let state_at = |crowd: &Self, index: usize| crowd.entries.get(index).map(Entry::state);
        let mut known = self.entries.find(hash, is_it);
        if let Some((index, state)) = known.and_then(|index| Some((index, state_at(self, index)?)))
        {
            let shown = state.shown_by(kind);
            if shown != state && self.set(index, shown, context) != Verified::Stayed {
                known = self.entries.find(hash, is_it);
            }
        }
        let state = known.and_then(|index| state_at(self, index));
        if state.is_none() && may_have_forgotten {
            kind = kind.if_forgotten();
        }

        let measure = Measure::of(state, kind);
        let enough = |crowd: &Self| {
            let let_through = crowd.tally.sum(State::may_be_let_through) > 0;
            let others = crowd.others(state, State::may_count);
            measure.answer(others, let_through, limit) == Answer::Under
        };
        if !enough(self) {
            self.verify(sighting, enough, context);
            // What was not looked up may still have moved.
            if known.is_some() {
                known = self.entries.find(hash, is_it);
            }
        }
        let let_through = self.tally.of(State::LetThrough) > 0;
        let answer = measure.answer(self.others(state, State::counts), let_through, limit);

        let change = match Change::of(state, kind, answer) {
            // It may have been told under before: that it arrives would show nothing.
            Change::Remember(State::Attempt) if may_have_forgotten => {
                Change::Remember(State::Refused)
            }
            change => change,
        };
        match (change, known) {
            (Change::Remember(state), Some(index)) => {
                self.set(index, state, context);
            }
            (Change::Remember(state), None) => {
                let entry = Entry::new(sighting, state, context);
                kind.excuse(self.push(entry, hash, context))?;
            }
            (Change::Forget, Some(index)) => self.remove(index, context),
            (Change::LookUp(ended), Some(index)) => {
                if let Some(&entry) = self.entries.get(index) {
                    self.replace(index, entry.looked_up_or(ended, context), context);
                }
            }
            (Change::Nothing | Change::Forget | Change::LookUp(_), _) => (),
        }
        Ok(answer)
    }

    /// How many of such states there are beside the packet's own connection, which is in state
    /// `known`.
    fn others(&self, known: Option<State>, such: impl Fn(State) -> bool) -> usize {
        let itself = known.is_some_and(&such);

        self.tally.sum(such).saturating_sub(itself.into())
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
            if self.settled <= VERIFIED_AT_ONCE || self.pass.left == 0 {
                self.pass.left = self.settled;
            }
        }

        let unsettled_due = if is_first {
            VERIFIED_AT_ONCE
        } else {
            UNSETTLED_AT_ONCE
        };
        let mut index = self.refused;
        for _ in 0..unsettled_due {
            let Some(entry) = self.entries.get(index) else {
                break;
            };
            if entry.is(sighting) {
                index = index.saturating_add(1);
                continue;
            }
            // What settles changes places with the first unsettled one, which was looked up already,
            // if it is not the same.
            if self.verify_at(index, context) != Verified::Removed {
                index = index.saturating_add(1);
            }
            if enough(self) {
                return;
            }
        }

        let due = if self.settled <= VERIFIED_AT_ONCE {
            VERIFIED_AT_ONCE
        } else {
            (const { VERIFIED_IN_A_SECOND / E::HZ + 1 }) as usize
        };
        while self.pass.looked_up < due {
            let Some(index) = self.pass.left.min(self.settled).checked_sub(1) else {
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
            self.verify_at(index, context);
            if enough(self) {
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

            // One that has not been looked up may be in the place of one that has moved.
            if self.verify_at(index, context) != Verified::Moved {
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
                self.note_forgotten(context);
                Verified::Removed
            }
        }
    }

    /// Takes note of it if one was forgotten that may arrive still.
    fn note_forgotten<K, E>(&mut self, context: &Context<'_, K, E>) {
        if context.has_forgotten.take() {
            self.has_forgotten = Some(context.now);
        }
    }

    /// Whether one of which nothing is known may have been told under, and arrived later than it is
    /// remembered for.
    fn may_have_forgotten<K, E: Environment<K, C>>(&self, context: &Context<'_, K, E>) -> bool {
        self.has_forgotten.is_some_and(|jiffy| {
            context.now.wrapping_sub(jiffy) <= SECONDS_LOST.saturating_mul(E::HZ)
        })
    }

    /// Has the connection at `index` be in `state`.
    fn set<K, E: Environment<K, C>>(
        &mut self,
        index: usize,
        state: State,
        context: &Context<'_, K, E>,
    ) -> Verified {
        let Some(&entry) = self.entries.get(index) else {
            return Verified::Stayed;
        };

        self.replace(index, entry.seen_again(state, context), context)
    }

    /// Remembers a connection, which has this hash.
    pub(super) fn push<K, E>(
        &mut self,
        entry: Entry<C>,
        hash: u32,
        context: &Context<'_, K, E>,
    ) -> Result<(), AllocError> {
        let index = self.len();

        self.entries.push(entry, hash, context.hash_key)?;
        // INVARIANT: It is among the unsettled ones, and goes to its own from there.
        self.tally.add(entry.state());
        self.move_to_part(index, Part::Unsettled, Part::of(entry.state()), context);
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

        // INVARIANT: It goes from the part of the old state to that of the new one.
        self.tally.take(old);
        self.tally.add(new);
        let moved = self.move_to_part(index, Part::of(old), Part::of(new), context);
        if moved == index {
            Verified::Stayed
        } else {
            Verified::Moved
        }
    }

    /// Forgets the connection at `index`.
    fn remove<K, E>(&mut self, index: usize, context: &Context<'_, K, E>) {
        let Some(state) = self.entries.get(index).map(Entry::state) else {
            return;
        };

        // INVARIANT: It leaves from the last part, whose end is nobody's.
        self.tally.take(state);
        let index = self.move_to_part(index, Part::of(state), Part::Unsettled, context);
        self.entries.remove(index, context.hash_key);
    }

    /// Moves the entry at `index` from one part to another: it changes places with the one at the edge
    /// of each part on its way. Returns where it is then.
    fn move_to_part<K, E>(
        &mut self,
        mut index: usize,
        from: Part,
        to: Part,
        context: &Context<'_, K, E>,
    ) -> usize {
        if from == Part::Unsettled && to != Part::Unsettled {
            self.entries.swap(index, self.refused, context.hash_key);
            index = self.refused;
            self.refused = self.refused.saturating_add(1);
        }
        if from != Part::Settled && to == Part::Settled {
            self.entries.swap(index, self.settled, context.hash_key);
            index = self.settled;
            self.settled = self.settled.saturating_add(1);
        }
        if from == Part::Settled && to != Part::Settled {
            self.settled = self.settled.saturating_sub(1);
            self.entries.swap(index, self.settled, context.hash_key);
            index = self.settled;
        }
        if from != Part::Unsettled && to == Part::Unsettled {
            self.refused = self.refused.saturating_sub(1);
            self.entries.swap(index, self.refused, context.hash_key);
            index = self.refused;
        }
        index
    }
}

/// A part of a crowd.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Settled,
    Refused,
    Unsettled,
}

impl Part {
    fn of(state: State) -> Self {
        match state {
            State::Pending | State::Attempt => Self::Unsettled,
            State::Refused => Self::Refused,
            State::Admitted | State::Lost | State::Found | State::LetThrough | State::Late => {
                Self::Settled
            }
        }
    }
}
