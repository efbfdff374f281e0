// SPDX-License-Identifier: GPL-2.0

//! Counting the connections of keys.
//!
//! A [`Shard`] remembers, for each of its keys, the connections that were seen for it, and decides
//! for each packet whether its connection is one too many. It learns what became of a connection by
//! looking it up, through an [`Environment`], and knows nothing else of netfilter. The cost of a
//! packet depends neither on the number of keys nor on that of their connections.
//!
//! - [`shard`]: from keys to their connections, and the search for those that are gone.
//! - [`bucket`]: the connections of one key.
//! - [`crowd`]: more than one of them.
//! - [`rules`]: what is decided of a packet, and what is remembered of its connection.
//! - [`entry`]: one remembered connection, and what a look-up makes of it.
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
mod rules;
mod shard;
mod threads;

use crate::hash::HashKey;
use core::cell::Cell;
use kernel::alloc::AllocError;

pub(crate) use shard::{
    Due,
    Shard, //
};

/// What looking a connection up has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Conntrack does not have it.
    Gone,
    /// Conntrack has it still, but it has ended.
    Ended,
    /// Conntrack has it, and it goes on or may do so.
    Live,
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
pub(crate) const TAG_BITS: u32 = 9;

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

/// What a packet shows of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PacketKind {
    /// Conntrack does not have the connection yet, and may never.
    New,
    /// Conntrack has it, and it goes on.
    Live {
        /// Whether conntrack has seen it answered.
        assured: bool,
        /// Whether the packet asks for a new connection all the same.
        syn: bool,
    },
    /// Conntrack has it, but it was reset or closed, and a SYN may bring it back.
    Reopening {
        /// Whether a look-up would call it live already.
        live: bool,
    },
    /// Conntrack has it, but it was reset or closed, and its client goes on.
    Late {
        /// Whether both sides have closed it, and the packet carries no data: the last packets of an
        /// honest client are such.
        bare: bool,
    },
    /// It neither begins a connection nor carries one on: it is not tracked, or an error about a
    /// connection, or a reset of one that has ended.
    Aside,
}

impl PacketKind {
    /// Whether it is one of the many packets of an assured connection.
    #[inline]
    fn is_assured_live(self) -> bool {
        matches!(self, Self::Live { assured: true, .. })
    }

    /// The same where the connection may have begun and been forgotten.
    fn if_forgotten(self) -> Self {
        match self {
            Self::Live { syn, .. } => Self::Live {
                assured: false,
                syn,
            },
            other => other,
        }
    }

    /// Lets a connection go unremembered for lack of memory, unless it begins: only then is the
    /// packet dropped.
    fn excuse<T>(self, remembered: Result<T, AllocError>) -> Result<Option<T>, AllocError> {
        match (self, remembered) {
            (_, Ok(remembered)) => Ok(Some(remembered)),
            (
                Self::New | Self::Reopening { .. } | Self::Live { assured: false, .. },
                Err(error),
            ) => Err(error),
            (Self::Live { assured: true, .. } | Self::Late { .. } | Self::Aside, Err(_)) => {
                Ok(None)
            }
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
    /// What it shows of its connection.
    pub(crate) kind: PacketKind,
}

/// What is said of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// With its connection the key has no more connections than the limit.
    Under,
    /// Its connection is one too many.
    Over,
}

/// What a decision is made with.
struct Context<'a, K, E> {
    key: &'a K,
    hash_key: &'a HashKey,
    environment: &'a E,
    stamp: threads::Stamp,
    grace_periods: grace::GracePeriods,
    now: u32,
    /// How many more connections may be remembered that are presumed lost.
    room_for_lost: Cell<usize>,
    /// Whether there was no more room for one.
    has_forgotten: Cell<bool>,
}

impl<K, E> Context<'_, K, E> {
    /// Takes the room for one more connection that is presumed lost. If there is none, that is noted.
    fn take_room_for_lost(&self) -> bool {
        match self.room_for_lost.get().checked_sub(1) {
            Some(left) => {
                self.room_for_lost.set(left);
                true
            }
            None => {
                self.has_forgotten.set(true);
                false
            }
        }
    }

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
