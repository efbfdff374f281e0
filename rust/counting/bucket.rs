// SPDX-License-Identifier: GPL-2.0

//! The connections of one key.

use super::{
    answer,
    crowd::Crowd,
    entry::Entry,
    indexed::Hashed,
    Answer,
    Connection,
    Context,
    Environment,
    Key,
    Progress,
    Sighting, //
};
use crate::hash::HashKey;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

enum Connections<C> {
    /// Most keys have one, so that one costs little.
    One(Entry<C>),
    Crowd(KBox<Crowd<C>>),
    /// To be removed.
    None,
}

/// A key and its connections.
pub(super) struct Bucket<K, C> {
    key: K,
    connections: Connections<C>,
}

impl<K: Key, C> Hashed for Bucket<K, C> {
    #[inline]
    fn hash(&self, key: &HashKey) -> u32 {
        self.key.hash(key)
    }
}

impl<K: Key, C: Connection> Bucket<K, C> {
    /// Decides for a packet of a key that has no connections. Returns with the answer what is to be
    /// remembered, if anything.
    pub(super) fn first<E: Environment<K, C>>(
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> (Answer, Option<Self>) {
        let answer = answer(1, limit);

        if !sighting.progress.is_new() {
            return (answer, None);
        }
        let bucket = Self {
            key: *context.key,
            connections: Connections::One(Entry::new(sighting, context.stamp, answer)),
        };
        (answer, Some(bucket))
    }

    #[inline]
    pub(super) fn key(&self) -> &K {
        &self.key
    }

    /// How many connections are remembered.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match &self.connections {
            Connections::One(_) => 1,
            Connections::Crowd(crowd) => crowd.len(),
            Connections::None => 0,
        }
    }

    /// Decides for a packet, and remembers its connection unless that is over, or assured and was
    /// never seen.
    ///
    /// # Errors
    ///
    /// If there is no memory to remember it. Then it is not.
    pub(super) fn decide<E: Environment<K, C>>(
        &mut self,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<Answer, AllocError> {
        match &mut self.connections {
            Connections::Crowd(crowd) => crowd.decide(sighting, limit, context),
            Connections::One(entry)
                if entry.is(sighting) && !matches!(sighting.progress, Progress::Closed { .. }) =>
            {
                let answer = answer(1, limit);
                *entry = entry.seen_again(sighting.progress, answer, context);
                Ok(answer)
            }
            Connections::One(entry) => match entry.verified(context) {
                // That often spares the memory for a crowd.
                None => {
                    let (answer, first) = Self::first(sighting, limit, context);
                    self.connections = first.map_or(Connections::None, |first| first.connections);
                    Ok(answer)
                }
                Some(verified) => {
                    *entry = verified;
                    if !sighting.progress.is_new() {
                        let others = usize::from(!verified.state().refused);
                        let itself = usize::from(sighting.progress.counts(false));
                        return Ok(answer(others.saturating_add(itself).max(1), limit));
                    }
                    let crowd = KBox::new(Crowd::new(), GFP_ATOMIC)?;
                    self.decide_in_crowd(crowd, verified, sighting, limit, context)
                }
            },
            Connections::None => {
                let (answer, first) = Self::first(sighting, limit, context);
                self.connections = first.map_or(Connections::None, |first| first.connections);
                Ok(answer)
            }
        }
    }

    /// The same where `one` is to become a crowd.
    fn decide_in_crowd<E: Environment<K, C>>(
        &mut self,
        mut crowd: KBox<Crowd<C>>,
        one: Entry<C>,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<Answer, AllocError> {
        crowd.push_first(one, context)?;
        let answer = crowd.decide(sighting, limit, context)?;

        if let Some(one) = crowd.only() {
            self.connections = Connections::One(one);
        } else {
            self.connections = Connections::Crowd(crowd);
        }
        Ok(answer)
    }

    /// Looks up at most `count` connections, of those before number `*before`, from the last to the
    /// first. Returns how many it has looked up.
    pub(super) fn sweep<E: Environment<K, C>>(
        &mut self,
        before: &mut usize,
        count: usize,
        context: &Context<'_, K, E>,
    ) -> usize {
        match &mut self.connections {
            Connections::None => {
                *before = 0;
                0
            }
            Connections::One(entry) => {
                *before = 0;
                match entry.verified(context) {
                    Some(verified) => *entry = verified,
                    None => self.connections = Connections::None,
                }
                1
            }
            Connections::Crowd(crowd) => {
                let looked_up = crowd.sweep(before, count, context);
                if let Some(one) = crowd.only() {
                    self.connections = Connections::One(one);
                }
                looked_up
            }
        }
    }
}
