// SPDX-License-Identifier: GPL-2.0

//! From keys to their connections.
//!
//! Lock order: a packet takes the lock of one shard, and conntrack's own locks, which looking up
//! may take, only within. Nothing that runs under a lock of conntrack comes here.

use super::{
    bucket::Bucket,
    Answer,
    Environment,
    Moment,
    Sighting, //
};
use crate::{
    new_spinlock_bh,
    siphash::SipKey,
    sync::SpinLockBh, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    rbtree::RBTree, //
};

/// Packets of keys in different shards do not wait for each other.
const SHARDS: usize = 64;

/// For each new key, so many others are verified, so that keys which are idle are found and freed.
const KEYS_VERIFIED_PER_ADDED: usize = 2;

/// How many connections of such a key are looked up.
const LOOKED_UP_PER_KEY: usize = 8;

/// What connections are counted by.
pub(crate) trait Key: Copy + Ord + Unpin {
    /// The key as words to hash.
    fn words(&self) -> [u64; 3];
}

/// The connections of all keys.
#[pin_data]
pub(crate) struct Table<K: Key, C> {
    /// An attacker, who chooses the keys, is not to choose their shards.
    hash_key: SipKey,
    #[pin]
    shards: [SpinLockBh<Shard<K, C>>; SHARDS],
}

impl<K: Key, C: Copy + Eq + Unpin> Table<K, C> {
    /// Makes an empty table.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            hash_key: SipKey::random(),
            shards <- pin_init::pin_init_array_from_fn(
                |_| new_spinlock_bh!(Shard::new(), "connlimit_shard")
            ),
        })
    }

    /// Decides whether a packet's connection is one more than `limit` for its key.
    ///
    /// The answer counts the packet's connection, if it is not assured or was seen before, and
    /// those others of the key that live, or may be about to, and were not refused.
    ///
    /// # Errors
    ///
    /// If there is no memory to remember a new connection. Then it is not remembered.
    pub(crate) fn decide(
        &self,
        key: &K,
        sighting: &Sighting<'_, C>,
        limit: u32,
        environment: &impl Environment<C>,
    ) -> Result<Answer, AllocError> {
        self.shard(key)
            .lock()
            .decide(key, sighting, limit, environment)
    }

    fn shard(&self, key: &K) -> &SpinLockBh<Shard<K, C>> {
        // The remainder is below the number of shards, so that it is an index, and fits into one.
        &self.shards[(self.hash_key.hash(key.words()) % SHARDS as u64) as usize]
    }
}

/// A part of a table.
struct Shard<K: Key, C> {
    buckets: RBTree<K, Bucket<C>>,
    /// The key at which the next search for idle keys begins.
    next: Option<K>,
}

impl<K: Key, C: Copy + Eq + Unpin> Shard<K, C> {
    fn new() -> Self {
        Self {
            buckets: RBTree::new(),
            next: None,
        }
    }

    fn decide(
        &mut self,
        key: &K,
        sighting: &Sighting<'_, C>,
        limit: u32,
        environment: &impl Environment<C>,
    ) -> Result<Answer, AllocError> {
        // Asked for with the lock held, so that time does not go back from one packet to the next.
        let moment = environment.moment();

        if let Some(mut found) = self.buckets.find_mut(key) {
            let answer = found
                .get_mut()
                .decide(sighting, limit, &moment, environment);

            if found.get().is_empty() {
                found.remove();
            }
            return answer;
        }

        self.free_idle(&moment, environment);

        let mut bucket = Bucket::new();
        let answer = bucket.decide(sighting, limit, &moment, environment)?;
        if !bucket.is_empty() {
            self.buckets
                .try_create_and_insert(*key, bucket, GFP_ATOMIC)
                .map_err(|_| AllocError)?;
        }
        Ok(answer)
    }

    /// Verifies a few keys, and frees those that have no connections any more.
    fn free_idle(&mut self, moment: &Moment, environment: &impl Environment<C>) {
        let mut cursor = match self.next.take() {
            Some(key) => self.buckets.cursor_lower_bound_mut(&key),
            None => self.buckets.cursor_front_mut(),
        };

        for _ in 0..KEYS_VERIFIED_PER_ADDED {
            let Some(mut current) = cursor else {
                return;
            };
            let (_, bucket) = current.current_mut();

            bucket.verify(LOOKED_UP_PER_KEY, moment, None, environment);
            cursor = if bucket.is_empty() {
                // If it was the last one, the cursor goes back to the one before, which is verified
                // again.
                current.remove_current().0
            } else {
                current.move_next()
            };
        }
        self.next = cursor.map(|current| *current.current().0);
    }
}
