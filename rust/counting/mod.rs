// SPDX-License-Identifier: GPL-2.0

//! Counting the connections of keys.
//!
//! A [`Shard`] remembers, for each of its keys, the connections that were seen for it, and decides
//! for each packet whether its connection is one too many. It learns what became of a connection by
//! looking it up, through an [`Environment`], and knows nothing else of netfilter. The cost of a
//! packet depends neither on the number of keys nor on that of their connections.
//!
//! - [`shard`]: from keys to their connections, and the search for those that are gone.
//! - [`bucket`]: the connections of one key, and the decision.
//! - [`crowd`]: more than one of them.
//! - [`entry`]: one remembered connection, and what is known of it.
//! - [`threads`]: who has seen it.
//! - [`grace`]: until when its packet may be on its way.
//! - [`indexed`], [`chunked`]: what all of it is kept in.
//!
//! `Documentation/engine.md` tells how they work together, and why the decisions are exact.

mod bucket;
mod chunked;
mod crowd;
mod entry;
mod grace;
mod indexed;
mod shard;
mod threads;

use crate::hash::HashKey;

pub(crate) use shard::{
    Due,
    Shard, //
};

/// What looking a connection up has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Conntrack does not have it.
    Unknown,
    /// Conntrack has it still, but it is over.
    Closed,
    /// Conntrack has it.
    Live {
        /// Whether it is assured.
        assured: bool,
    },
}

/// What connections are counted by.
pub(crate) trait Key: Copy + Eq {
    /// The hash that it is found by.
    fn hash(&self, key: &HashKey) -> u32;
}

/// What is remembered of a connection, together with a tag of [`TAG_BITS`] bits: with its key, that
/// is enough to look it up.
pub(crate) trait Connection: Copy + Eq {
    /// The hash that it is found by.
    fn hash(&self, tag: u16, key: &HashKey) -> u32;
}

/// How many bits of a tag there are.
pub(crate) const TAG_BITS: u32 = 10;

/// What is asked of the surroundings.
pub(crate) trait Environment<K, C> {
    /// How many jiffies there are in a second.
    const HZ: u32;

    /// Tells what became of the connection.
    fn fate(&self, key: &K, connection: &C, tag: u16) -> Fate;

    /// When it is, and by whom packets are handled.
    fn moment(&self) -> Moment;

    /// A state of RCU, for the grace period that waits for all packets that are being handled now.
    fn grace_period(&self) -> usize;

    /// Whether the grace period of such a state is over.
    fn is_over(&self, state: usize) -> bool;
}

/// How far the connection of a packet has got when the packet is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Conntrack does not have it yet, and may never.
    Unconfirmed,
    /// Conntrack has it.
    Confirmed,
    /// It is assured: it was let through.
    Assured,
    /// It is over, and conntrack leaves it so.
    Closed {
        /// Whether it was assured.
        assured: bool,
    },
}

impl Progress {
    /// Whether a connection is remembered when it is first seen. One that is assured is older than
    /// the rule, and one that is over has no place.
    fn is_new(self) -> bool {
        matches!(self, Self::Unconfirmed | Self::Confirmed)
    }

    /// Whether it counts for its own packet. What was never let through may be an attempt.
    fn counts(self, known: bool) -> bool {
        match self {
            Self::Unconfirmed | Self::Confirmed => true,
            Self::Assured => known,
            Self::Closed { assured } => !assured,
        }
    }
}

/// When something happens, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The time in jiffies. It may wrap.
    pub(crate) now: u32,
    /// A number for the thread of execution, if packets of one come one after the other: by the
    /// time that it handles another one, conntrack has either confirmed the connection of the one
    /// before, or never will.
    pub(crate) thread: Option<u32>,
}

/// A packet of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Sighting<C> {
    /// The connection.
    pub(crate) connection: C,
    /// What else tells it apart from others of its key.
    pub(crate) tag: u16,
    /// How far it has got.
    pub(crate) progress: Progress,
}

/// What is said of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// With its connection the key has no more connections than the limit.
    Under,
    /// Its connection is one too many.
    Over,
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

/// What a decision is made with.
struct Context<'a, K, E> {
    key: &'a K,
    hash_key: &'a HashKey,
    environment: &'a E,
    stamp: threads::Stamp,
    grace_periods: grace::GracePeriods,
    now: u32,
}

impl<K, E> Context<'_, K, E> {
    /// Whether the packet that was seen at `earlier` has got where it was going, if it ever will.
    fn settles<C>(&self, earlier: threads::Stamp) -> bool
    where
        E: Environment<K, C>,
    {
        self.stamp.is_by_thread_of(earlier)
            || self
                .grace_periods
                .is_over(earlier.grace_period, self.environment)
    }
}
