// SPDX-License-Identifier: GPL-2.0

//! From keys to their connections.

use super::{
    bucket::{
        Bucket,
        Census, //
    },
    grace::GracePeriods,
    indexed::Indexed,
    threads::{
        Stamp,
        Threads, //
    },
    Answer,
    Connection,
    Context,
    Environment,
    Key,
    Moment,
    PacketKind,
    Sighting, //
};
use crate::hash::HashKey;
use core::cell::Cell;
use kernel::alloc::AllocError;

/// So many connections may be remembered for each one that the last sweep has looked up and kept,
/// before the next one is due at once.
const GROWTH: usize = 2;

/// So many may be remembered in any case.
const ALLOWANCE: usize = 64;

/// Where so many times as many are remembered as may be, the sweep does not keep up by itself, and
/// packets that add a connection help.
const HELPED_AT: usize = 4;

/// How many connections are looked up by a packet that helps.
const LOOKED_UP_PER_ADDED: usize = 2;

/// So many connections may be remembered that are presumed lost. A flood that is dropped behind the
/// rule is to leave little.
const LOST: usize = 32;

/// What a shard says of a packet.
#[derive(Clone, Copy)]
pub(crate) struct Decision {
    pub(crate) answer: Answer,
    /// When a sweep is due, as a connection was added.
    pub(crate) sweep: Option<Due>,
    /// Whether a grace period is to be asked for: what becomes of this connection, or of another
    /// one that is pending, may decide for the next one.
    pub(crate) grace_period: bool,
}

/// When something is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Some time.
    Later,
    /// As soon as may be.
    Now,
}

/// Where a sweep is. It goes from the last key to the first, and in each from the last connection
/// to the first, so that what takes the place of one that is removed has been looked up already.
struct Sweep {
    /// The key in work and those after it are behind it.
    keys: usize,
    /// How many connections of the key in work are ahead.
    connections: usize,
    /// How many were looked up and are still there. What is added meanwhile is not among them.
    kept: usize,
}

/// Some keys, and the connections of each.
pub(crate) struct Shard<K, C> {
    buckets: Indexed<Bucket<K, C>>,
    threads: Threads,
    grace_periods: GracePeriods,
    /// What is remembered, over all keys.
    census: Census,
    /// How many there may be before a sweep is due at once.
    allowed: usize,
    sweep: Sweep,
}

impl<K: Key, C: Connection> Shard<K, C> {
    pub(crate) const fn new() -> Self {
        Self {
            buckets: Indexed::new(),
            threads: Threads::new(),
            grace_periods: GracePeriods::new(),
            census: Census { all: 0, lost: 0 },
            allowed: ALLOWANCE,
            sweep: Sweep {
                keys: 0,
                connections: 0,
                kept: 0,
            },
        }
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.census.all == 0
    }

    /// Decides whether a packet's connection is one more than `limit` for its key.
    ///
    /// `hash` is that of the key. [`super::rules`] tells which connections count.
    ///
    /// # Errors
    ///
    /// If there is no memory to remember a connection that begins. Then it is not remembered.
    pub(crate) fn decide<E: Environment<K, C>>(
        &mut self,
        key: &K,
        hash: u32,
        sighting: &Sighting<C>,
        limit: u32,
        hash_key: &HashKey,
        environment: &E,
    ) -> Result<Decision, AllocError> {
        // Asked for with the lock held, so that time does not go back from one packet to the next.
        let moment = environment.moment();
        // Of what conntrack has, nothing is to be waited for.
        let may_be_pending = matches!(
            sighting.kind,
            PacketKind::New | PacketKind::Reopening { live: false }
        );
        let grace_period = if may_be_pending {
            self.grace_periods.current(environment)
        } else {
            self.grace_periods.latest()
        };
        let stamp = self.threads.stamp(moment.thread, grace_period, |earlier| {
            self.grace_periods.is_over(earlier, environment)
        });
        let context = Context {
            key,
            hash_key,
            environment,
            stamp,
            grace_periods: self.grace_periods,
            now: moment.now,
            room_for_lost: Cell::new(self.room_for_lost()),
            has_forgotten: Cell::new(false),
        };
        let before = self.census.all;

        let (answer, remembered) = match self.buckets.find(hash, |bucket| bucket.key() == key) {
            Some(index) => self.decide_at(index, sighting, limit, &context)?,
            None => self.decide_first(hash, sighting, limit, &context)?,
        };

        let is_added = self.census.all > before;
        let sweep = if !is_added {
            None
        } else if self.census.all <= self.allowed {
            Some(Due::Later)
        } else {
            if self.census.all / HELPED_AT > self.allowed {
                self.help(&moment, hash_key, environment);
            }
            Some(Due::Now)
        };
        let is_full = usize::try_from(limit).is_ok_and(|limit| remembered >= limit);
        Ok(Decision {
            answer,
            sweep,
            grace_period: answer == Answer::Under && (is_added || may_be_pending) && is_full,
        })
    }

    fn room_for_lost(&self) -> usize {
        LOST.saturating_sub(self.census.lost)
    }

    /// Decides for a packet of a key that has no connections. Returns with the answer how many it has
    /// then.
    fn decide_first<E: Environment<K, C>>(
        &mut self,
        hash: u32,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<(Answer, usize), AllocError> {
        let (answer, bucket) = Bucket::first(sighting, limit, context);
        let Some(bucket) = bucket else {
            return Ok((answer, 0));
        };
        let census = bucket.census();
        let pushed = self.buckets.push(bucket, hash, context.hash_key);

        if sighting.kind.excuse(pushed)?.is_some() {
            self.census.replace(Census::default(), census);
        }
        Ok((answer, census.all))
    }

    /// The same where it has some.
    fn decide_at<E: Environment<K, C>>(
        &mut self,
        index: usize,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<(Answer, usize), AllocError> {
        let Some(bucket) = self.buckets.get_mut(index) else {
            return Err(AllocError);
        };
        let before = bucket.census();
        let answer = bucket.decide(sighting, limit, context);
        let after = bucket.census();

        self.recount(index, before, after, context.hash_key);
        answer.map(|answer| (answer, after.all))
    }

    /// Notes that the bucket at `index` has `after` where it had `before`. It goes where it has
    /// nothing.
    fn recount(&mut self, index: usize, before: Census, after: Census, hash_key: &HashKey) {
        self.census.replace(before, after);
        if after.all == 0 {
            self.buckets.remove(index, hash_key);
        }
    }

    /// Goes on with the sweep where connections are added faster than it gets along by itself.
    fn help<E: Environment<K, C>>(&mut self, moment: &Moment, hash_key: &HashKey, environment: &E) {
        if self.sweep_on(LOOKED_UP_PER_ADDED, moment, hash_key, environment) {
            self.begin_sweep();
        }
    }

    /// Begins to look all connections up.
    pub(crate) fn begin_sweep(&mut self) {
        self.sweep = Sweep {
            keys: self.buckets.len(),
            connections: 0,
            kept: 0,
        };
    }

    /// Looks up at most `count` connections, and forgets those that are gone. Returns whether the
    /// sweep is through.
    pub(crate) fn sweep<E: Environment<K, C>>(
        &mut self,
        count: usize,
        hash_key: &HashKey,
        environment: &E,
    ) -> bool {
        self.sweep_on(count, &environment.moment(), hash_key, environment)
    }

    fn sweep_on<E: Environment<K, C>>(
        &mut self,
        count: usize,
        moment: &Moment,
        hash_key: &HashKey,
        environment: &E,
    ) -> bool {
        let mut left = count;

        while left > 0 {
            if self.sweep.connections == 0 {
                let Some(index) = self.sweep.keys.min(self.buckets.len()).checked_sub(1) else {
                    self.allowed = self
                        .sweep
                        .kept
                        .saturating_mul(GROWTH)
                        .saturating_add(ALLOWANCE);
                    return true;
                };
                self.sweep.keys = index;
                self.sweep.connections = usize::MAX;
            }
            let index = self.sweep.keys;
            let room_for_lost = self.room_for_lost();
            let Some(bucket) = self.buckets.get_mut(index) else {
                self.sweep.connections = 0;
                continue;
            };
            let key = *bucket.key();
            let context = Context {
                key: &key,
                hash_key,
                environment,
                stamp: Stamp::of_nobody(self.grace_periods.latest()),
                grace_periods: self.grace_periods,
                now: moment.now,
                room_for_lost: Cell::new(room_for_lost),
                has_forgotten: Cell::new(false),
            };
            let before = bucket.census();
            let looked_up = bucket.sweep(&mut self.sweep.connections, left, &context);
            // A key costs something, too.
            left = left.saturating_sub(looked_up.max(1));
            let after = bucket.census();
            let forgotten = before.all.saturating_sub(after.all);
            let kept = looked_up.saturating_sub(forgotten);
            self.sweep.kept = self.sweep.kept.saturating_add(kept);
            self.recount(index, before, after, hash_key);
            if after.all == 0 {
                self.sweep.connections = 0;
            }
        }
        false
    }
}
