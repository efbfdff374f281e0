// SPDX-License-Identifier: GPL-2.0

//! One remembered connection.

use super::{
    indexed::Hashed,
    rules::State,
    threads::Stamp,
    Connection,
    Context,
    Environment,
    Fate,
    PacketKind,
    Sighting,
    TAG_BITS, //
};
use crate::hash::HashKey;

/// So many seconds after its packet was presumed lost, a connection is forgotten.
pub(super) const SECONDS_LOST: u32 = 5;

/// So many seconds after a packet that came late, its connection does not count any more.
const SECONDS_LATE: u32 = 2;

/// How many lower bits of the clock are left out where an entry remembers a time.
const CLOCK_SHIFT: u32 = 5;

/// A remembered connection.
///
/// # Invariants
///
/// From the lowest, `bits` are the tag, the state, and what goes with that: for one that is unsettled
/// the thread that has seen it and the grace period that waits for its packet, for one that is lost
/// or late the time when it got so, and 0 for others.
#[derive(Clone, Copy)]
pub(super) struct Entry<C> {
    connection: C,
    bits: u32,
}

const TAG: u32 = (1 << TAG_BITS) - 1;
const STATE_SHIFT: u32 = TAG_BITS;
const THREAD_SHIFT: u32 = 12;
/// The upper half is the number of a grace period, or a time.
const UPPER_SHIFT: u32 = 16;

const _: () = assert!(STATE_SHIFT + State::BITS <= THREAD_SHIFT);

impl<C: Connection> Hashed for Entry<C> {
    #[inline]
    fn hash(&self, key: &HashKey) -> u32 {
        self.connection.hash(self.tag(), key)
    }
}

impl<C: Connection> Entry<C> {
    /// Remembers the connection of a packet.
    pub(super) fn new<K, E: Environment<K, C>>(
        sighting: &Sighting<C>,
        state: State,
        context: &Context<'_, K, E>,
    ) -> Self {
        let entry = Self {
            connection: sighting.connection,
            bits: u32::from(sighting.tag) & TAG,
        };

        entry.with(state, context.stamp, context.now)
    }

    /// The same after a packet of it that leaves it in `state`.
    pub(super) fn seen_again<K, E: Environment<K, C>>(
        self,
        state: State,
        context: &Context<'_, K, E>,
    ) -> Self {
        let stamp = if self.is_settled(context) {
            context.stamp
        } else {
            // The packet before is on its way still, in another thread.
            Stamp::of_nobody(context.stamp.grace_period)
        };

        self.with(state, stamp, context.now)
    }

    /// The same after a look-up, because of a packet that was told over. It is in the state `ended` then
    /// if conntrack does not have it live.
    pub(super) fn looked_up_or<K, E: Environment<K, C>>(
        self,
        ended: State,
        context: &Context<'_, K, E>,
    ) -> Self {
        match self.verified(context) {
            None => self.with(ended, context.stamp, context.now),
            Some(entry) if entry.state().is_unsettled() => entry.seen_again(entry.state(), context),
            Some(entry) => entry,
        }
    }

    fn with(self, state: State, stamp: Stamp, now: u32) -> Self {
        let more = match state {
            State::Pending | State::Attempt => {
                (u32::from(stamp.thread) << THREAD_SHIFT)
                    | (u32::from(stamp.grace_period) << UPPER_SHIFT)
            }
            State::Lost | State::Late => (now >> CLOCK_SHIFT) << UPPER_SHIFT,
            State::Admitted | State::Found | State::LetThrough | State::Refused => 0,
        };

        // INVARIANT: What goes with the state is above it.
        Self {
            bits: (self.bits & TAG) | (state.to_bits() << STATE_SHIFT) | more,
            ..self
        }
    }

    fn tag(&self) -> u16 {
        (self.bits & TAG) as u16
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        State::from_bits(self.bits >> STATE_SHIFT)
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            grace_period: (self.bits >> UPPER_SHIFT) as u16,
            thread: ((self.bits >> THREAD_SHIFT) & 0xf) as u8,
        }
    }

    /// Whether none of its packets is on its way.
    fn is_settled<K, E: Environment<K, C>>(&self, context: &Context<'_, K, E>) -> bool {
        !self.state().is_unsettled() || context.settles(self.stamp())
    }

    /// Whether more than so many seconds have gone by since the time that it remembers.
    fn is_older_than<K, E: Environment<K, C>>(
        &self,
        seconds: u32,
        context: &Context<'_, K, E>,
    ) -> bool {
        let now = (context.now >> CLOCK_SHIFT) as u16;
        let age = now.wrapping_sub((self.bits >> UPPER_SHIFT) as u16);

        u32::from(age) > seconds.saturating_mul(E::HZ) >> CLOCK_SHIFT
    }

    /// Whether it is the connection of `sighting` that is remembered, and the packet is one of its own.
    #[inline]
    pub(super) fn is(&self, sighting: &Sighting<C>) -> bool {
        sighting.kind != PacketKind::Aside
            && self.connection == sighting.connection
            && self.tag() == sighting.tag
    }

    /// Looks the connection up. Returns what is to be remembered of it, if anything.
    pub(super) fn verified<K, E: Environment<K, C>>(
        self,
        context: &Context<'_, K, E>,
    ) -> Option<Self> {
        let state = self.state();
        // Asked before the look-up: what arrives after that is not found, and may settle right then.
        let is_settled = self.is_settled(context);
        let fate = context
            .environment
            .fate(context.key, &self.connection, self.tag());

        let state = match (fate, state) {
            // The time of its last packet stays.
            (Fate::Live, State::Late) => return Some(self),
            (Fate::Live, _) => state.live(),
            _ if !is_settled => return Some(self),
            (Fate::Ended, State::Refused) => return Some(self),
            (Fate::Ended, State::Late) if !self.is_older_than(SECONDS_LATE, context) => {
                return Some(self);
            }
            (_, State::Lost) if !self.is_older_than(SECONDS_LOST, context) => return Some(self),
            (Fate::Gone, State::Pending) if context.take_room_for_lost() => State::Lost,
            _ => return None,
        };
        Some(self.with(state, context.stamp, context.now))
    }
}
