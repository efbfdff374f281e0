// SPDX-License-Identifier: GPL-2.0

//! A table of keys and their connections, for all CPUs.
//!
//! Lock order: a packet, or a sweep, takes the lock of one shard, and conntrack's own locks, which
//! looking up may take, only within. Nothing that runs under a lock of conntrack comes here. Lockdep
//! learns this order from each look-up.

use crate::{
    counting::{
        Answer,
        Connection,
        Due,
        Environment,
        Key,
        Shard,
        Sighting, //
    },
    hash::HashKey,
    netfilter::{
        grace,
        upkeep::{
            Jiffies,
            Upkeep, //
        }, //
    },
    new_spinlock_bh,
    sync::SpinLockBh, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

/// Packets of keys in different shards do not wait for each other.
const SHARDS: usize = 64;

/// How many connections a sweep looks up with bottom halves off.
const LOOKED_UP_AT_ONCE: usize = 64;

/// Connections that are gone are forgotten after at most about twice so many seconds, whether there
/// is traffic or not.
const SECONDS_BETWEEN_SWEEPS: Jiffies = 15;

/// A sweep is followed by a pause so many times as long: whoever adds connections is not to keep a
/// CPU busy with sweeps.
const PAUSE: Jiffies = 20;

const NEVER: i32 = 0;
const LATER: i32 = 1;
const NOW: i32 = 2;

/// The connections of all keys.
#[pin_data]
pub(crate) struct Table<K, C> {
    /// An attacker, who chooses the keys and connections, is not to choose where they go.
    hash_key: HashKey,
    /// When the next sweep is due: [`NEVER`], [`LATER`] or [`NOW`].
    due: Atomic<i32>,
    /// When the last sweep ended, and how long none is to follow it.
    ended: Atomic<u32>,
    pause: Atomic<u32>,
    #[pin]
    shards: [SpinLockBh<Shard<K, C>>; SHARDS],
}

impl<K: Key, C: Connection> Table<K, C> {
    /// Makes an empty table.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            hash_key: HashKey::random(),
            due: Atomic::new(NEVER),
            ended: Atomic::new(0),
            pause: Atomic::new(0),
            shards <- pin_init::pin_init_array_from_fn(
                |_| new_spinlock_bh!(Shard::new(), "connlimit_shard")
            ),
        })
    }

    /// Decides whether a packet's connection is one more than `limit` for its key.
    ///
    /// # Errors
    ///
    /// If there is no memory to remember a new connection. Then it is not remembered.
    #[inline]
    pub(crate) fn decide<E: Environment<K, C>>(
        &self,
        key: &K,
        sighting: &Sighting<C>,
        limit: u32,
        environment: &E,
        upkeep: &Upkeep,
    ) -> Result<Answer, AllocError> {
        let hash = key.hash(&self.hash_key);
        // A shard finds its keys by the lower bits. The remainder is an index, and fits into one.
        let shard = &self.shards[(hash >> 26) as usize % SHARDS];
        let decision =
            shard
                .lock()
                .decide(key, hash, sighting, limit, &self.hash_key, environment)?;

        if decision.grace_period {
            grace::ask_for();
        }
        // Not before the lock was taken: then a sweep that ends sees the connection, or this sees
        // that it has ended.
        match decision.sweep {
            Some(Due::Later)
                if self.due.load(Relaxed) == NEVER
                    && self.due.cmpxchg(NEVER, LATER, Full).is_ok() =>
            {
                upkeep.after(SECONDS_BETWEEN_SWEEPS.saturating_mul(E::HZ));
            }
            Some(Due::Now) if self.due.load(Relaxed) != NOW && self.due.xchg(NOW, Full) != NOW => {
                upkeep.hasten(self.pause_left(environment.moment().now));
            }
            _ => (),
        }
        Ok(decision.answer)
    }

    /// How long the pause after the last sweep goes on.
    fn pause_left(&self, now: Jiffies) -> Jiffies {
        let past = now.wrapping_sub(self.ended.load(Relaxed));

        self.pause.load(Relaxed).saturating_sub(past)
    }

    /// Looks all connections up and forgets those that are gone. Returns when that is to be done
    /// again, if there are any left.
    ///
    /// Called in process context; gives way to others.
    pub(crate) fn sweep<E: Environment<K, C>>(
        &self,
        environment: &E,
        upkeep: &Upkeep,
    ) -> Option<Jiffies> {
        let begun = environment.moment().now;

        self.due.store(LATER, Relaxed);
        for shard in &self.shards {
            // The next sweep is to know of all that are pending.
            grace::ask_for();
            shard.lock().begin_sweep();
            while !shard
                .lock()
                .sweep(LOOKED_UP_AT_ONCE, &self.hash_key, environment)
            {
                upkeep.give_way()?;
            }
        }

        let ended = environment.moment().now;
        let pause = PAUSE.saturating_mul(ended.wrapping_sub(begun));
        self.ended.store(ended, Relaxed);
        self.pause.store(pause, Relaxed);

        self.due.xchg(NEVER, Full);
        if self.shards.iter().all(|shard| shard.lock().is_empty())
            || self.due.cmpxchg(NEVER, LATER, Full).is_err()
        {
            return None;
        }
        Some(SECONDS_BETWEEN_SWEEPS.saturating_mul(E::HZ).max(pause))
    }
}
