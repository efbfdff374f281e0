// SPDX-License-Identifier: GPL-2.0

//! The connections of one key.

use super::{
    crowd::Crowd,
    entry::Entry,
    indexed::Hashed,
    rules::{
        Change,
        Measure,
        State, //
    },
    Answer,
    Connection,
    Context,
    Environment,
    Key,
    Sighting, //
};
use crate::hash::HashKey;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// How many connections are remembered.
#[derive(Clone, Copy, Default)]
pub(super) struct Census {
    pub(super) all: usize,
    /// Those that are presumed lost.
    pub(super) lost: usize,
}

impl Census {
    pub(super) fn of_one(state: State) -> Self {
        Self {
            all: 1,
            lost: usize::from(state == State::Lost),
        }
    }

    /// Notes that a part of it, which was `before`, is `after` now.
    pub(super) fn replace(&mut self, before: Self, after: Self) {
        self.all = self
            .all
            .saturating_sub(before.all)
            .saturating_add(after.all);
        self.lost = self
            .lost
            .saturating_sub(before.lost)
            .saturating_add(after.lost);
    }
}

enum Connections<C> {
    /// Most keys have one, so that one costs little.
    One(Entry<C>),
    Crowd(KBox<Crowd<C>>),
    /// To be removed.
    None,
}

impl<C: Connection> Connections<C> {
    /// Decides for a packet where there are no connections. Returns with the answer those that there
    /// are then.
    fn first<K, E: Environment<K, C>>(
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> (Answer, Self) {
        let answer = Measure::of(None, sighting.kind).answer(0, false, limit);
        let connections = match Change::of(None, sighting.kind, answer) {
            Change::Remember(state) => Self::One(Entry::new(sighting, state, context)),
            Change::Nothing | Change::Forget | Change::LookUp(_) => Self::None,
        };

        (answer, connections)
    }
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
        let (answer, connections) = Connections::first(sighting, limit, context);
        let bucket = match connections {
            Connections::None => None,
            connections => Some(Self {
                key: *context.key,
                connections,
            }),
        };

        (answer, bucket)
    }

    #[inline]
    pub(super) fn key(&self) -> &K {
        &self.key
    }

    /// How many connections are remembered.
    #[inline]
    pub(super) fn census(&self) -> Census {
        match &self.connections {
            Connections::One(entry) => Census::of_one(entry.state()),
            Connections::Crowd(crowd) => crowd.census(),
            Connections::None => Census::default(),
        }
    }

    /// Decides for a packet, and remembers of its connection what there is to remember.
    ///
    /// # Errors
    ///
    /// If there is no memory to remember a connection that begins. Then it is not.
    pub(super) fn decide<E: Environment<K, C>>(
        &mut self,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<Answer, AllocError> {
        match &mut self.connections {
            Connections::Crowd(crowd) => crowd.decide(sighting, limit, context),
            Connections::One(entry) if entry.is(sighting) => {
                let known = entry.state().shown_by(sighting.kind);
                if known != entry.state() {
                    *entry = entry.seen_again(known, context);
                }
                let answer = Measure::of(Some(known), sighting.kind).answer(0, false, limit);
                match Change::of(Some(known), sighting.kind, answer) {
                    Change::Nothing => (),
                    Change::Remember(state) => *entry = entry.seen_again(state, context),
                    Change::LookUp(ended) => *entry = entry.looked_up_or(ended, context),
                    Change::Forget => self.connections = Connections::None,
                }
                Ok(answer)
            }
            Connections::One(entry)
                if sighting.kind.is_assured_live() && !entry.state().may_be_let_through() =>
            {
                Ok(Answer::Under)
            }
            Connections::One(entry) => match entry.verified(context) {
                None => self.decide_after_first(sighting, limit, context),
                Some(verified) => {
                    *entry = verified;
                    self.decide_second(verified, sighting, limit, context)
                }
            },
            Connections::None => Ok(self.decide_first(sighting, limit, context)),
        }
    }

    fn decide_first<E: Environment<K, C>>(
        &mut self,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Answer {
        let (answer, connections) = Connections::first(sighting, limit, context);

        self.connections = connections;
        answer
    }

    /// The same where the only other one has gone. That often spares the memory for a crowd.
    fn decide_after_first<E: Environment<K, C>>(
        &mut self,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<Answer, AllocError> {
        if context.has_forgotten.get() {
            // A crowd takes note of that. Without memory for one, it is not noted.
            if let Ok(mut crowd) = Self::empty_crowd() {
                let answer = crowd.decide(sighting, limit, context)?;
                self.connections = Connections::Crowd(crowd);
                return Ok(answer);
            }
        }
        Ok(self.decide_first(sighting, limit, context))
    }

    /// The same where there is one other connection.
    fn decide_second<E: Environment<K, C>>(
        &mut self,
        other: Entry<C>,
        sighting: &Sighting<C>,
        limit: u32,
        context: &Context<'_, K, E>,
    ) -> Result<Answer, AllocError> {
        let answer = Measure::of(None, sighting.kind).answer(
            other.state().counts().into(),
            other.state() == State::LetThrough,
            limit,
        );

        if let Change::Remember(state) = Change::of(None, sighting.kind, answer) {
            let entry = Entry::new(sighting, state, context);
            let crowd = Self::crowd_of([other, entry], context);
            if let Some(crowd) = sighting.kind.excuse(crowd)? {
                self.connections = Connections::Crowd(crowd);
            }
        }
        Ok(answer)
    }

    fn empty_crowd() -> Result<KBox<Crowd<C>>, AllocError> {
        KBox::new(Crowd::new(), GFP_ATOMIC)
    }

    fn crowd_of<E>(
        entries: [Entry<C>; 2],
        context: &Context<'_, K, E>,
    ) -> Result<KBox<Crowd<C>>, AllocError> {
        let mut crowd = Self::empty_crowd()?;

        for entry in entries {
            // A few have no index, so the hash is not used.
            crowd.push(entry, 0, context)?;
        }
        Ok(crowd)
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
                if let Some(one) = crowd.only(context) {
                    self.connections = Connections::One(one);
                }
                looked_up
            }
        }
    }
}
