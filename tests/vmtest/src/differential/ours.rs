// SPDX-License-Identifier: GPL-2.0

//! What ours is to decide.
//!
//! The match looks a connection up only where a decision depends on it. So this has of each connection
//! all that the match may know of it, and of each packet all decisions that this allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::entry::{Fate, PacketKind};
use super::history::{ConnectionId, Hook, Key};
use super::world::{Moment, Sighting, World};
use crate::decision::Verdict;

/// What may be known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    Nothing,
    /// It was told under, and its packet may be on its way.
    Pending,
    /// It was told over, and its packet may be on its way.
    Attempt,
    /// It was told under, and its packet has not arrived.
    Lost {
        since: Moment,
    },
    Admitted,
    /// It was lost, and goes on all the same.
    Found,
    /// It was told over, and goes on all the same.
    LetThrough,
    /// It goes on although it was reset or closed.
    Late {
        since: Moment,
    },
    Refused,
}

/// How long one that is lost may be found again, and how long one that is late counts. The match has a
/// coarse clock for both.
const LOST: Duration = Duration::from_secs(5);
const LATE: Duration = Duration::from_secs(2);
const COARSE: Duration = Duration::from_millis(256);

/// So many that are lost are remembered in any case.
const MOST_LOST: usize = 32;

impl Known {
    pub const NAMES: [&'static str; 9] = [
        "unknown",
        "pending",
        "attempt",
        "lost",
        "admitted",
        "found",
        "let through",
        "late",
        "refused",
    ];

    pub fn name(self) -> &'static str {
        Self::NAMES[match self {
            Self::Nothing => 0,
            Self::Pending => 1,
            Self::Attempt => 2,
            Self::Lost { .. } => 3,
            Self::Admitted => 4,
            Self::Found => 5,
            Self::LetThrough => 6,
            Self::Late { .. } => 7,
            Self::Refused => 8,
        }]
    }

    fn counts(self) -> bool {
        match self {
            Self::Pending | Self::Admitted | Self::Found | Self::LetThrough | Self::Late { .. } => {
                true
            }
            Self::Nothing | Self::Attempt | Self::Lost { .. } | Self::Refused => false,
        }
    }

    fn is_unsettled(self) -> bool {
        matches!(self, Self::Pending | Self::Attempt)
    }

    /// The same once conntrack is known to have it.
    fn live(self) -> Self {
        match self {
            Self::Pending => Self::Admitted,
            Self::Attempt => Self::LetThrough,
            Self::Lost { .. } => Self::Found,
            other => other,
        }
    }

    /// The same after a look-up. `settled`: no packet of it is on its way.
    fn looked_up(self, fate: Fate, settled: bool, now: Moment, has_room: [bool; 2]) -> Vec<Self> {
        let unless_older = |since: Moment, age: Duration| {
            let [least, most] = now.since(since);
            let mut all = Vec::new();
            all.extend((least <= age + COARSE).then_some(self));
            all.extend((most + COARSE >= age).then_some(Self::Nothing));
            all
        };
        match (self, fate) {
            (Self::Nothing, _) => vec![self],
            (_, Fate::Live) => vec![self.live()],
            (Self::Pending | Self::Attempt, _) if !settled => vec![self],
            (Self::Refused, Fate::Ended) => vec![self],
            (Self::Late { since }, Fate::Ended) => unless_older(since, LATE),
            (Self::Lost { since }, _) => unless_older(since, LOST),
            (Self::Pending, Fate::Gone) => {
                let [may_have_room, may_have_none] = has_room;
                let mut all = Vec::new();
                all.extend(may_have_room.then_some(Self::Lost { since: now }));
                all.extend(may_have_none.then_some(Self::Nothing));
                all
            }
            _ => vec![Self::Nothing],
        }
    }

    /// The same once a packet of its own has shown what it shows.
    fn shown_by(self, kind: PacketKind) -> Vec<Self> {
        match kind {
            // Where nothing depends on it, nobody takes note.
            PacketKind::Live { assured: true, .. } if self == Self::Pending => {
                vec![self, self.live()]
            }
            PacketKind::Live { .. } => vec![self.live()],
            _ => vec![self],
        }
    }
}

/// What is compared to the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Nothing: the packet is under.
    Nothing,
    Others,
    OthersAndItself,
    /// The same two, where one of the key was let through over the limit. Else nothing.
    OthersWhereLetThrough,
    BothWhereLetThrough,
}

impl Measure {
    fn of(known: Known, kind: PacketKind) -> Self {
        match (kind, known) {
            // It was told under, whether anybody has noted that conntrack has it or not.
            (PacketKind::Live { syn: true, .. }, Known::Admitted | Known::Pending) => Self::Nothing,
            (PacketKind::Live { .. }, Known::Admitted | Known::Pending) => {
                Self::BothWhereLetThrough
            }
            (PacketKind::Live { assured: true, .. }, Known::Nothing) => Self::OthersWhereLetThrough,
            (PacketKind::New | PacketKind::Reopening { .. } | PacketKind::Live { .. }, _)
            | (PacketKind::Late { bare: false }, _)
            | (PacketKind::Late { .. }, Known::Refused) => Self::OthersAndItself,
            (PacketKind::Late { .. } | PacketKind::Aside, _) => Self::Others,
        }
    }

    pub fn has_itself(self) -> bool {
        matches!(self, Self::OthersAndItself | Self::BothWhereLetThrough)
    }
}

/// How many others count, at least and at most: what has changed within this jiffy may have been noticed
/// or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub least: usize,
    pub most: usize,
    /// Whether one was let through over the limit: surely, and maybe.
    let_through: [bool; 2],
}

/// A packet as the match may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub kind: PacketKind,
    /// What is known of its connection.
    pub known: Known,
    pub measure: Measure,
    pub others: Counts,
}

impl View {
    pub fn most(&self) -> usize {
        self.others.most + usize::from(self.measure.has_itself())
    }

    pub fn allows(&self, verdict: Verdict, limit: usize) -> bool {
        let itself = usize::from(self.measure.has_itself());
        let by_count = match verdict {
            Verdict::Over => self.others.most + itself > limit,
            Verdict::Under => self.others.least + itself <= limit,
            Verdict::Dropped => false,
        };
        let [surely, maybe] = self.others.let_through;
        match self.measure {
            Measure::Nothing => verdict == Verdict::Under,
            Measure::Others | Measure::OthersAndItself => by_count,
            Measure::OthersWhereLetThrough | Measure::BothWhereLetThrough => {
                (maybe && by_count) || (!surely && verdict == Verdict::Under)
            }
        }
    }
}

pub struct Ours {
    hook: Hook,
    /// Of connections that the rule has remembered once.
    known: BTreeMap<(Key, ConnectionId), BTreeSet<Known>>,
    /// There may have been no room for one more that is lost. Then an unknown one may be one of those.
    may_have_forgotten: bool,
}

impl Ours {
    pub fn new(hook: Hook) -> Self {
        Self {
            hook,
            known: BTreeMap::new(),
            may_have_forgotten: false,
        }
    }

    fn of(&self, key: Key, connection: ConnectionId) -> BTreeSet<Known> {
        let known = self.known.get(&(key, connection));
        known.cloned().unwrap_or_else(|| [Known::Nothing].into())
    }

    /// Whether there is room for one more that is lost: whether there may be, and whether there may be
    /// none.
    fn has_room(&self) -> [bool; 2] {
        let may_be_lost = |all: &&BTreeSet<Known>| {
            all.iter()
                .any(|known| matches!(known, Known::Lost { .. } | Known::Pending))
        };
        let most = self.known.values().filter(may_be_lost).count();
        [true, most > MOST_LOST]
    }

    /// All that a look-up may make of what is known of a connection.
    fn look_ups(
        &self,
        known: Known,
        fates: &[Fate],
        settled: &[bool],
        now: Moment,
    ) -> BTreeSet<Known> {
        let has_room = self.has_room();
        let mut all = BTreeSet::new();
        for &fate in fates {
            for &settled in settled {
                all.extend(known.looked_up(fate, settled, now, has_room));
            }
        }
        all
    }

    /// Whether the packets before have got where they were going, when a packet comes. There is one CPU;
    /// but in the table raw only a grace period tells.
    fn settled(&self) -> &'static [bool] {
        match self.hook {
            Hook::Raw => &[false, true],
            Hook::Forward | Hook::Input => &[true],
        }
    }

    /// All that may be known of another connection when it is decided on a packet.
    fn other(
        &self,
        world: &World,
        sighting: &Sighting,
        connection: ConnectionId,
    ) -> BTreeSet<Known> {
        let (fates, has_just_changed) = if connection == sighting.connection {
            (sighting.fates.clone(), sighting.has_just_changed)
        } else {
            (world.fates(connection), world.has_just_changed(connection))
        };
        let mut all = BTreeSet::new();
        for known in self.of(sighting.key, connection) {
            all.extend(self.look_ups(known, &fates, self.settled(), world.now()));
            // It may have been looked up in this jiffy before.
            if has_just_changed && !known.is_unsettled() {
                all.insert(known);
            }
        }
        all
    }

    /// The others that a packet of `kind` is decided with. What is aside is of no connection.
    fn others<'a>(
        &'a self,
        sighting: &'a Sighting,
        kind: PacketKind,
    ) -> impl Iterator<Item = ConnectionId> + 'a {
        self.known
            .keys()
            .filter(|(key, _)| *key == sighting.key)
            .map(|(_, connection)| *connection)
            .filter(move |&it| it != sighting.connection || kind == PacketKind::Aside)
    }

    fn counts(&self, world: &World, sighting: &Sighting, kind: PacketKind) -> Counts {
        let mut counts = Counts {
            least: 0,
            most: 0,
            let_through: [false; 2],
        };
        for connection in self.others(sighting, kind) {
            let all = self.other(world, sighting, connection);
            counts.least += usize::from(all.iter().all(|known| known.counts()));
            counts.most += usize::from(all.iter().any(|known| known.counts()));
            counts.let_through[0] |= all.iter().all(|&known| known == Known::LetThrough);
            counts.let_through[1] |= all.contains(&Known::LetThrough);
        }
        counts
    }

    /// How the match may see a packet.
    pub fn views(&self, world: &World, sighting: &Sighting) -> Vec<View> {
        let mut views = Vec::new();
        let mut kinds = sighting.kinds.clone();
        if self.may_have_forgotten {
            kinds.extend(sighting.kinds.iter().filter_map(|kind| match *kind {
                PacketKind::Live { assured: true, syn } => Some(PacketKind::Live {
                    assured: false,
                    syn,
                }),
                _ => None,
            }));
        }
        for kind in kinds {
            let others = self.counts(world, sighting, kind);
            for known in self.of(sighting.key, sighting.connection) {
                for known in known.shown_by(kind) {
                    let view = View {
                        kind,
                        known,
                        measure: Measure::of(known, kind),
                        others,
                    };
                    if !views.contains(&view) {
                        views.push(view);
                    }
                }
            }
        }
        views
    }

    /// Other connections that may count for a packet.
    pub fn counted(&self, world: &World, sighting: &Sighting) -> Vec<ConnectionId> {
        let may_count = |it: &ConnectionId| {
            self.other(world, sighting, *it)
                .iter()
                .any(|known| known.counts())
        };
        let mut counted = Vec::new();
        for &kind in &sighting.kinds {
            counted.extend(self.others(sighting, kind).filter(may_count));
        }
        counted.sort_unstable();
        counted.dedup();
        counted
    }

    /// Whether it may be one that was told over and does not count for that.
    pub fn may_be_refused(&self, key: Key, connection: ConnectionId) -> bool {
        let all = self.of(key, connection);
        all.contains(&Known::Attempt) || all.contains(&Known::Refused)
    }

    /// Whether its packet may be on its way, as far as ours knows.
    pub fn may_be_pending(&self, key: Key, connection: ConnectionId) -> bool {
        self.of(key, connection).contains(&Known::Pending)
    }

    /// Whether it may be one that is late.
    pub fn may_be_late(&self, key: Key, connection: ConnectionId) -> bool {
        let is_late = |known: &Known| matches!(known, Known::Late { .. });
        self.of(key, connection).iter().any(is_late)
    }

    /// Whether the rule has remembered it once.
    pub fn has_known(&self, key: Key, connection: ConnectionId) -> bool {
        self.known.contains_key(&(key, connection))
    }

    /// Whether it may be forgotten.
    pub fn may_be_forgotten(&self, key: Key, connection: ConnectionId) -> bool {
        self.has_known(key, connection) && self.of(key, connection).contains(&Known::Nothing)
    }

    /// Notes what was decided.
    pub fn note(
        &mut self,
        world: &World,
        sighting: &Sighting,
        views: &[View],
        verdict: Verdict,
        limit: usize,
    ) {
        let mut after = BTreeSet::new();
        for view in views.iter().filter(|view| view.allows(verdict, limit)) {
            after.extend(self.after(world, sighting, view, verdict));
        }
        let name = (sighting.key, sighting.connection);
        let is_new = !self.known.contains_key(&name);
        if !(after.is_empty() || (is_new && after == [Known::Nothing].into())) {
            self.known.insert(name, after);
        }
    }

    /// What may be known of a connection once it was decided on its packet.
    fn after(
        &self,
        world: &World,
        sighting: &Sighting,
        view: &View,
        verdict: Verdict,
    ) -> BTreeSet<Known> {
        let known = view.known;
        let under = verdict == Verdict::Under;
        let late = Known::Late { since: world.now() };
        // What it is in the state that a look-up shows; if it has ended, `ended`.
        let looked_up_or = |ended: BTreeSet<Known>| {
            let mut all = self.look_ups(known, &sighting.fates, self.settled(), world.now());
            if all.remove(&Known::Nothing) {
                all.extend(ended);
            }
            all
        };
        let attempt = || {
            let mut all = BTreeSet::from([Known::Attempt]);
            all.extend(self.may_have_forgotten.then_some(Known::Refused));
            all
        };

        [match (view.kind, known) {
            (PacketKind::Aside, _) => known,
            (PacketKind::New | PacketKind::Reopening { live: false }, _) if under => Known::Pending,
            (PacketKind::Reopening { live: true }, _) if under => Known::Admitted,
            (PacketKind::Live { assured: true, .. }, Known::Nothing | Known::Pending) if under => {
                known
            }
            (PacketKind::Live { .. }, _) if under => Known::Admitted,

            (PacketKind::New, Known::Nothing) => return attempt(),
            // An earlier packet of it may arrive still, which would show nothing.
            (PacketKind::New, Known::Pending | Known::Lost { .. }) => {
                return looked_up_or([Known::Refused].into());
            }
            (PacketKind::New, _) => return looked_up_or(attempt()),
            (PacketKind::Reopening { live: false }, Known::Nothing) => Known::Refused,
            (PacketKind::Reopening { live: false }, _)
            | (PacketKind::Late { bare: false }, Known::Admitted | Known::LetThrough)
                if !under =>
            {
                return looked_up_or([Known::Refused].into());
            }
            (PacketKind::Live { assured: true, .. }, Known::Nothing) => known,
            (
                PacketKind::Live { .. } | PacketKind::Reopening { .. },
                Known::Admitted | Known::LetThrough,
            ) => known,
            (PacketKind::Live { .. } | PacketKind::Reopening { .. }, Known::Pending) => {
                Known::Admitted
            }
            (PacketKind::Live { .. } | PacketKind::Reopening { .. }, _) => Known::Refused,

            (PacketKind::Late { bare: false }, _) if under => late,
            (PacketKind::Late { bare: false }, _) => Known::Refused,
            // Another packet of it may begin it anew.
            (PacketKind::Late { .. }, Known::Pending | Known::Attempt) => known,
            (PacketKind::Late { .. }, Known::Nothing | Known::Late { .. } | Known::Refused) => {
                if under {
                    late
                } else {
                    known
                }
            }
            (PacketKind::Late { .. }, _) => Known::Nothing,
        }]
        .into()
    }

    /// A sweep may look anything up at any time.
    pub fn look(&mut self, world: &World) {
        let [_, may_have_none] = self.has_room();
        self.may_have_forgotten |= may_have_none;
        for (key, connection) in self.known.keys().copied().collect::<Vec<_>>() {
            let mut all = self.of(key, connection);
            for known in all.clone() {
                let fates = world.fates(connection);
                all.extend(self.look_ups(known, &fates, &[false, true], world.now()));
            }
            self.known.insert((key, connection), all);
        }
    }
}
