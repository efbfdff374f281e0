// SPDX-License-Identifier: GPL-2.0

//! What ours is to decide: the count of a packet's connection is 1, plus the others of its key that
//! the rule has seen, that conntrack has and does not call closed, and that are not presumed refused.

use std::collections::BTreeMap;

use super::history::{ConnectionId, Key};
use super::world::{Progress, Sighting, World};
use crate::decision::Verdict;

/// What the rule knows of a connection that it has seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    last: Verdict,
    progress: Progress,
    /// It was gone or closed since then, so that it may have been forgotten.
    ended: bool,
    /// It was assured since then.
    assured: bool,
    /// The jiffy in which it was seen, if it was live.
    live_in: Option<usize>,
}

/// Of which only the one or the other can be told: what has changed within this jiffy may have been
/// noticed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub least: usize,
    pub most: usize,
}

impl Counts {
    const NONE: Self = Self::exactly(0);
    const ONE: Self = Self::exactly(1);
    const EITHER: Self = Self { least: 0, most: 1 };

    const fn exactly(count: usize) -> Self {
        Self {
            least: count,
            most: count,
        }
    }

    pub fn allow(self, verdict: Verdict, limit: usize) -> bool {
        match verdict {
            Verdict::Over => self.most > limit,
            Verdict::Under => self.least <= limit,
            Verdict::Dropped => false,
        }
    }
}

#[derive(Default)]
pub struct Ours {
    seen: BTreeMap<(Key, ConnectionId), Seen>,
}

impl Ours {
    pub fn counts(&self, world: &World, sighting: &Sighting) -> Counts {
        let mut counts = self.of_itself(sighting);
        for &(key, connection) in self.seen.keys() {
            if key == sighting.key && connection != sighting.connection {
                let weight = self.weight(world, key, connection);
                counts.least += weight.least;
                counts.most += weight.most;
            }
        }
        Counts {
            least: counts.least.max(1),
            most: counts.most.max(1),
        }
    }

    /// An assured connection that is not known is older than the rule.
    fn of_itself(&self, sighting: &Sighting) -> Counts {
        match self.seen.get(&(sighting.key, sighting.connection)) {
            _ if sighting.progress != Progress::Assured => Counts::ONE,
            _ if sighting.over => Counts::NONE,
            Some(seen) if seen.ended => Counts::EITHER,
            Some(_) => Counts::ONE,
            None => Counts::NONE,
        }
    }

    /// Whether another connection counts.
    pub fn weight(&self, world: &World, key: Key, connection: ConnectionId) -> Counts {
        let Some(seen) = self.seen.get(&(key, connection)) else {
            return Counts::NONE;
        };
        let just_seen = seen.live_in == Some(world.jiffy());
        match (
            world.is_live(connection),
            world.has_just_changed(connection),
        ) {
            _ if seen.is_presumed_refused() => Counts::NONE,
            (true, _) if seen.ended => Counts::EITHER,
            (true, true) if seen.was_refused() => Counts::EITHER,
            (true, _) => Counts::ONE,
            (false, just_ended) if just_ended || just_seen => Counts::EITHER,
            (false, _) => Counts::NONE,
        }
    }

    /// Whether its last answer was "over", and it does not count for that, or may not yet: that it is
    /// assured may not have been noticed within a jiffy.
    pub fn presumes_refused(&self, world: &World, key: Key, connection: ConnectionId) -> bool {
        self.seen.get(&(key, connection)).is_some_and(|seen| {
            let may_be = seen.was_refused() && world.has_just_changed(connection);
            let is_gone = seen.last == Verdict::Over && !world.is_live(connection);
            may_be || is_gone || seen.is_presumed_refused()
        })
    }

    /// Whether it has ended and begun anew, and the rule has seen nothing of that: it may have been
    /// forgotten meanwhile.
    pub fn has_returned(&self, world: &World, key: Key, connection: ConnectionId) -> bool {
        let seen = self.seen.get(&(key, connection));
        seen.is_some_and(|seen| seen.ended) && world.is_live(connection)
    }

    /// How many others count, or may, and are such.
    pub fn others(
        &self,
        world: &World,
        sighting: &Sighting,
        such: impl Fn(ConnectionId) -> bool,
    ) -> usize {
        self.seen
            .keys()
            .filter(|(key, connection)| {
                *key == sighting.key
                    && *connection != sighting.connection
                    && self.weight(world, *key, *connection) != Counts::NONE
                    && such(*connection)
            })
            .count()
    }

    pub fn knows(&self, key: Key, connection: ConnectionId) -> bool {
        self.seen.contains_key(&(key, connection))
    }

    /// Notes what was decided.
    pub fn note(&mut self, world: &World, sighting: &Sighting, verdict: Verdict) {
        let name = (sighting.key, sighting.connection);
        let known = self.seen.get(&name);
        if sighting.over || (sighting.progress == Progress::Assured && known.is_none()) {
            return;
        }
        let ended = sighting.progress == Progress::Assured && known.is_some_and(|seen| seen.ended);
        let seen = Seen {
            last: verdict,
            progress: sighting.progress,
            ended,
            assured: false,
            live_in: (!sighting.closed).then_some(world.jiffy()),
        };
        self.seen.insert(name, seen);
    }

    /// Notes what has ended.
    pub fn look(&mut self, world: &World) {
        for (&(_, connection), seen) in &mut self.seen {
            seen.ended |= !world.is_live(connection);
            seen.assured |= world.is_assured(connection);
        }
    }
}

impl Seen {
    /// It was refused when conntrack had it already: that it still does shows nothing.
    fn was_refused(&self) -> bool {
        self.last == Verdict::Over && self.progress == Progress::Confirmed
    }

    fn is_presumed_refused(&self) -> bool {
        self.was_refused() && !self.assured
    }
}
