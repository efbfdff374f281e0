// SPDX-License-Identifier: GPL-2.0

//! From keys to their connections.

use super::{
    answer,
    bucket::Bucket,
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
    Progress,
    Sighting, //
};
use crate::hash::HashKey;
use kernel::alloc::AllocError;

/// So many connections may be remembered for each one that was left by the last sweep, before the
/// next one is due at once.
const GROWTH: usize = 2;

/// So many may be remembered in any case.
const ALLOWANCE: usize = 64;

/// Where so many times as many are remembered as may be, the sweep does not keep up by itself, and
/// packets that add a connection help.
const HELPED_AT: usize = 4;

/// How many connections are looked up by a packet that helps.
const LOOKED_UP_PER_ADDED: usize = 2;

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
}

/// Some keys, and the connections of each.
pub(crate) struct Shard<K, C> {
    buckets: Indexed<Bucket<K, C>>,
    threads: Threads,
    grace_periods: GracePeriods,
    /// How many connections are remembered, over all keys.
    connections: usize,
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
            connections: 0,
            allowed: ALLOWANCE,
            sweep: Sweep {
                keys: 0,
                connections: 0,
            },
        }
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections == 0
    }

    /// Decides whether a packet's connection is one more than `limit` for its key.
    ///
    /// The answer counts the packet's connection, if it is not assured or was seen before, and
    /// those others of the key that live, or may be about to, and were not refused. `hash` is that
    /// of the key.
    ///
    /// # Errors
    ///
    /// If there is no memory to remember a new connection. Then it is not remembered.
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
        let grace_period = if sighting.progress == Progress::Unconfirmed {
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
        };
        let before = self.connections;

        let decided = match self.buckets.find(hash, |bucket| bucket.key() == key) {
            Some(index) => self.decide_at(index, sighting, limit, &context),
            None => {
                let (answer, first) = Bucket::first(sighting, limit, &context);
                match first {
                    Some(bucket) => self.buckets.push(bucket, hash, hash_key).map(|()| {
                        self.connections = self.connections.saturating_add(1);
                        (answer, 1)
                    }),
                    None => Ok((answer, 0)),
                }
            }
        };

        let is_added = self.connections > before;
        let sweep = if !is_added {
            None
        } else if self.connections <= self.allowed {
            Some(Due::Later)
        } else {
            if self.connections / HELPED_AT > self.allowed {
                self.help(&moment, hash_key, environment);
            }
            Some(Due::Now)
        };
        decided.map(|(verdict, remembered)| Decision {
            answer: verdict,
            sweep,
            grace_period: verdict == Answer::Under
                && (is_added || sighting.progress == Progress::Unconfirmed)
                && answer(remembered.saturating_add(1), limit) == Answer::Over,
        })
    }

    /// Returns with the answer how many connections the key has that are remembered.
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
        let before = bucket.len();
        let answer = bucket.decide(sighting, limit, context);
        let after = bucket.len();

        self.count(before, after);
        if after == 0 {
            self.buckets.remove(index, context.hash_key);
        }
        answer.map(|answer| (answer, after))
    }

    /// Notes that a bucket has `after` connections where it had `before`.
    fn count(&mut self, before: usize, after: usize) {
        self.connections = self
            .connections
            .saturating_sub(before)
            .saturating_add(after);
    }

    /// Goes on with the sweep where connections are added faster than it gets along by itself.
    fn help<E: Environment<K, C>>(
        &mut self,
        moment: &super::Moment,
        hash_key: &HashKey,
        environment: &E,
    ) {
        if self.sweep_on(LOOKED_UP_PER_ADDED, moment, hash_key, environment) {
            self.begin_sweep();
        }
    }

    /// Begins to look all connections up.
    pub(crate) fn begin_sweep(&mut self) {
        self.sweep = Sweep {
            keys: self.buckets.len(),
            connections: 0,
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
        moment: &super::Moment,
        hash_key: &HashKey,
        environment: &E,
    ) -> bool {
        let mut left = count;

        while left > 0 {
            if self.sweep.connections == 0 {
                let Some(index) = self.sweep.keys.min(self.buckets.len()).checked_sub(1) else {
                    self.allowed = self
                        .connections
                        .saturating_mul(GROWTH)
                        .saturating_add(ALLOWANCE);
                    return true;
                };
                self.sweep.keys = index;
                self.sweep.connections = usize::MAX;
            }
            let index = self.sweep.keys;
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
            };
            let before = bucket.len();
            // A key costs something, too.
            left = left.saturating_sub(
                bucket
                    .sweep(&mut self.sweep.connections, left, &context)
                    .max(1),
            );
            let after = bucket.len();
            self.count(before, after);
            if after == 0 {
                self.buckets.remove(index, hash_key);
                self.sweep.connections = 0;
            }
        }
        false
    }
}
