// SPDX-License-Identifier: GPL-2.0

//! One remembered connection.

use super::{
    indexed::Hashed,
    threads::Stamp,
    Answer,
    Connection,
    Context,
    Environment,
    Fate,
    Progress,
    Sighting,
    TAG_BITS, //
};
use crate::hash::HashKey;

/// What is known of a connection.
///
/// | | conntrack has it | it does not, yet |
/// | --- | --- | --- |
/// | counts | live when last looked at | pending |
/// | presumed refused | only that it becomes assured shows that it was let through | that conntrack has it would show it |
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Whether conntrack had it when it was last seen or looked up.
    pub(super) confirmed: bool,
    /// Whether its last answer was [`Answer::Over`], and nothing has shown that it was let through
    /// all the same.
    pub(super) refused: bool,
}

impl State {
    fn of(progress: Progress, answer: Answer) -> Self {
        Self {
            confirmed: progress != Progress::Unconfirmed,
            refused: answer == Answer::Over && progress != Progress::Assured,
        }
    }
}

/// A remembered connection.
#[derive(Clone, Copy)]
pub(super) struct Entry<C> {
    connection: C,
    /// From the lowest: the tag, the state, and for one that is not confirmed the thread that has
    /// seen it and the grace period that waits for its packet.
    bits: u32,
}

const CONFIRMED: u32 = 1 << TAG_BITS;
const REFUSED: u32 = 2 << TAG_BITS;
const TAG: u32 = CONFIRMED - 1;
const THREAD_SHIFT: u32 = 12;
const GRACE_PERIOD_SHIFT: u32 = 16;

impl<C: Connection> Hashed for Entry<C> {
    #[inline]
    fn hash(&self, key: &HashKey) -> u32 {
        self.connection.hash(self.tag(), key)
    }
}

impl<C: Connection> Entry<C> {
    /// Remembers the connection of a packet.
    pub(super) fn new(sighting: &Sighting<C>, stamp: Stamp, answer: Answer) -> Self {
        let mut entry = Self {
            connection: sighting.connection,
            bits: u32::from(sighting.tag) & TAG,
        };

        entry.set(State::of(sighting.progress, answer), stamp);
        entry
    }

    /// The same after another packet.
    pub(super) fn seen_again<K, E: Environment<K, C>>(
        mut self,
        progress: Progress,
        answer: Answer,
        context: &Context<'_, K, E>,
    ) -> Self {
        let stamp = if self.state().confirmed || context.settles(self.stamp()) {
            context.stamp
        } else {
            // The packet before is on its way still, in another thread.
            Stamp::of_nobody(context.stamp.grace_period)
        };

        self.set(State::of(progress, answer), stamp);
        self
    }

    fn set(&mut self, state: State, stamp: Stamp) {
        self.bits &= TAG;
        if state.refused {
            self.bits |= REFUSED;
        }
        if state.confirmed {
            self.bits |= CONFIRMED;
        } else {
            self.bits |= u32::from(stamp.thread) << THREAD_SHIFT;
            self.bits |= u32::from(stamp.grace_period) << GRACE_PERIOD_SHIFT;
        }
    }

    fn tag(&self) -> u16 {
        (self.bits & TAG) as u16
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            grace_period: (self.bits >> GRACE_PERIOD_SHIFT) as u16,
            thread: ((self.bits >> THREAD_SHIFT) & 0xf) as u8,
        }
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        State {
            confirmed: self.bits & CONFIRMED != 0,
            refused: self.bits & REFUSED != 0,
        }
    }

    /// Whether it is the connection of `sighting` that is remembered.
    #[inline]
    pub(super) fn is(&self, sighting: &Sighting<C>) -> bool {
        self.connection == sighting.connection && self.tag() == sighting.tag
    }

    /// Looks the connection up. Returns what is to be remembered of it, if anything.
    pub(super) fn verified<K, E: Environment<K, C>>(
        mut self,
        context: &Context<'_, K, E>,
    ) -> Option<Self> {
        let state = self.state();
        // Asked before the look-up: what arrives after that is not found, and may settle right then.
        let settled = state.confirmed || context.settles(self.stamp());

        match context
            .environment
            .fate(context.key, &self.connection, self.tag())
        {
            Fate::Closed => None,
            Fate::Unknown => (!settled).then_some(self),
            Fate::Live { assured } => {
                let state = State {
                    confirmed: true,
                    refused: state.refused && state.confirmed && !assured,
                };
                self.set(state, context.stamp);
                Some(self)
            }
        }
    }
}
