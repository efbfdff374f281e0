// SPDX-License-Identifier: GPL-2.0

//! What is to be decided, by remembering everything and looking everything up.
//!
//! The engine looks a connection up only where a decision depends on it, and forgets what has ended
//! only then. So the model knows of each connection all that the engine may think of it, and of each
//! decision all answers that this allows.

use std::collections::{BTreeMap, BTreeSet};

use crate::counting::{Answer, Environment, PacketKind};
use crate::world::{KeyId, Name, ThreadId, Tracked, World, TOGETHER};

/// Until when a packet may be on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Way {
    /// The grace period that waits for it.
    grace_period: usize,
    /// The thread that knows what becomes of it; not if another one had seen it just before.
    by: Option<ThreadId>,
}

/// What may be known of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Known {
    Nothing,
    Pending(Way),
    Attempt(Way),
    Lost { since: u32 },
    Admitted,
    Found,
    LetThrough,
    Late { since: u32 },
    Refused,
}

const HZ: u32 = <World as Environment<_, _>>::HZ;
const SECONDS_LOST: u32 = 5;
const SECONDS_LATE: u32 = 2;
/// The engine's clock for these has so many jiffies.
const COARSE: u32 = 64;
/// The engine keeps so many that are lost.
const MOST_LOST: usize = 32;

impl Known {
    fn counts(self) -> bool {
        matches!(
            self,
            Self::Pending(_) | Self::Admitted | Self::Found | Self::LetThrough | Self::Late { .. }
        )
    }

    fn way(self) -> Option<Way> {
        match self {
            Self::Pending(way) | Self::Attempt(way) => Some(way),
            _ => None,
        }
    }

    /// Conntrack is known to have it.
    fn live(self) -> Self {
        match self {
            Self::Pending(_) => Self::Admitted,
            Self::Attempt(_) => Self::LetThrough,
            Self::Lost { .. } => Self::Found,
            other => other,
        }
    }

    /// Whether a look-up leaves it as it is, that of a live connection or of another one.
    fn stays(self, is_live: bool) -> bool {
        match self {
            Self::Nothing => true,
            Self::Admitted | Self::Found | Self::LetThrough | Self::Refused => is_live,
            _ => false,
        }
    }

    /// All that a look-up may make of it.
    fn looked_up(
        self,
        settled: bool,
        tracked: Option<Tracked>,
        now: u32,
        room: [bool; 2],
    ) -> Vec<Self> {
        // Whether it has been so for that long: surely not, or may be.
        let age = |since: u32, seconds: u32| {
            let age = now.wrapping_sub(since);
            [age <= seconds * HZ + COARSE, age + COARSE >= seconds * HZ]
        };
        let keep_or_forget = |[kept, forgotten]: [bool; 2]| {
            let mut all = Vec::new();
            all.extend(kept.then_some(self));
            all.extend(forgotten.then_some(Self::Nothing));
            all
        };
        let ended = tracked.is_some();
        match self {
            Self::Nothing => vec![self],
            _ if tracked.is_some_and(Tracked::is_live) => vec![self.live()],
            Self::Pending(_) | Self::Attempt(_) if !settled => vec![self],
            Self::Refused if ended => vec![self],
            Self::Late { since } if ended => keep_or_forget(age(since, SECONDS_LATE)),
            Self::Lost { since } => keep_or_forget(age(since, SECONDS_LOST)),
            Self::Pending(_) if !ended => {
                let [lost, forgotten] = room;
                let mut all = Vec::new();
                all.extend(lost.then_some(Self::Lost { since: now }));
                all.extend(forgotten.then_some(Self::Nothing));
                all
            }
            _ => vec![Self::Nothing],
        }
    }
}

/// All that was ever seen and told.
pub struct Model {
    known: BTreeMap<Name, BTreeSet<Known>>,
    may_lack_memory: bool,
    /// There may have been no room for one more that is lost.
    may_have_forgotten: bool,
}

/// The counts that may be the right ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub least: usize,
    pub most: usize,
    /// Whether any was let through over the limit: surely, and may be.
    pub let_through: [bool; 2],
}

/// A packet that is decided on.
#[derive(Clone, Copy)]
pub struct Seen {
    pub name: Name,
    pub thread: ThreadId,
    pub kind: PacketKind,
}

impl Model {
    pub fn new(may_lack_memory: bool) -> Self {
        Self {
            known: BTreeMap::new(),
            may_lack_memory,
            may_have_forgotten: false,
        }
    }

    fn of(&self, name: Name) -> BTreeSet<Known> {
        let known = self.known.get(&name);
        known.cloned().unwrap_or_else(|| [Known::Nothing].into())
    }

    /// Whether it may be that nothing is known of it.
    pub fn may_be_unknown(&self, name: Name) -> bool {
        self.of(name).contains(&Known::Nothing)
    }

    /// Whether there is room for one more that is lost: whether there may be, and whether there may
    /// be none.
    fn room(&self) -> [bool; 2] {
        let may_be_lost = |all: &&BTreeSet<Known>| {
            all.iter()
                .any(|it| matches!(it, Known::Lost { .. } | Known::Pending(_)))
        };
        [
            true,
            self.known.values().filter(may_be_lost).count() > MOST_LOST,
        ]
    }

    /// All that a look-up by `thread` may make of what is known of a connection.
    fn look_ups(
        world: &World,
        name: Name,
        known: Known,
        thread: Option<ThreadId>,
        room: [bool; 2],
    ) -> Vec<Known> {
        let settled = |may_end: bool| {
            known.way().is_none_or(|way| {
                (way.by.is_some() && way.by == thread)
                    || world.was_over(way.grace_period)
                    // Where no packet is handled, what is over now is.
                    || (thread.is_none() && world.is_over(way.grace_period))
                    || (may_end && world.ends_meanwhile(way.grace_period))
            })
        };
        let (tracked, later) = (world.tracked(name), world.tracked_meanwhile(name));
        let look = |settled, tracked| known.looked_up(settled, tracked, world.now, room);
        let mut all = look(settled(false), tracked);
        // Whether its packet has got where it was going is asked before the look-up.
        all.extend(look(settled(false), later));
        all.extend(look(settled(true), later));
        all
    }

    /// The counts for a packet, by what is known of the others of its key.
    pub fn counts(&self, world: &World, seen: Seen) -> Counts {
        let mut counts = Counts {
            least: 0,
            most: 0,
            let_through: [false; 2],
        };
        let room = self.room();
        let others = self
            .known
            .iter()
            .filter(|(other, _)| other.0 == seen.name.0)
            // What is aside is of no connection.
            .filter(|(other, _)| **other != seen.name || seen.kind == PacketKind::Aside);
        for (&other, all) in others {
            let mut weights = BTreeSet::new();
            let mut let_through = BTreeSet::new();
            for &known in all {
                let mut may_be = Self::look_ups(world, other, known, Some(seen.thread), room);
                if world.has_just_changed(other) {
                    // It may have been looked up in this jiffy before.
                    may_be.push(known);
                }
                for known in may_be {
                    weights.insert(known.counts());
                    let_through.insert(known == Known::LetThrough);
                }
            }
            counts.least += usize::from(!weights.contains(&false));
            counts.most += usize::from(weights.contains(&true));
            counts.let_through[0] |= !let_through.contains(&false);
            counts.let_through[1] |= let_through.contains(&true);
        }
        counts
    }

    /// Which answers are allowed, and what each of them has known of the connection afterwards.
    pub fn outcomes(&self, world: &World, seen: Seen, limit: usize) -> Vec<(Answer, Known)> {
        let counts = self.counts(world, seen);
        let mut outcomes = Vec::new();
        for known in self.of(seen.name) {
            for before in self.shown(known, seen.kind) {
                let mut allowed = answers(before, seen.kind, counts, limit);
                if self.may_have_forgotten
                    && before == Known::Nothing
                    && matches!(seen.kind, PacketKind::Live { .. })
                {
                    // It may be taken for one that begins.
                    allowed.extend(answers(before, PacketKind::New, counts, limit));
                }
                for answer in allowed {
                    for after in self.after(world, seen, before, answer) {
                        outcomes.push((answer, after));
                    }
                }
            }
        }
        outcomes
    }

    fn shown(&self, known: Known, kind: PacketKind) -> Vec<Known> {
        match kind {
            // Where nothing depends on it, nobody notes that conntrack has it.
            PacketKind::Live { assured: true, .. } if matches!(known, Known::Pending(_)) => {
                vec![known, known.live()]
            }
            PacketKind::Live { .. } => vec![known.live()],
            _ => vec![known],
        }
    }

    /// What may be known of a connection once its packet was decided on.
    fn after(&self, world: &World, seen: Seen, known: Known, answer: Answer) -> Vec<Known> {
        let way = || {
            let unsettled = known
                .way()
                .filter(|way| !world.was_over(way.grace_period) && way.by != Some(seen.thread));
            Way {
                grace_period: world.grace_period_of_packet(),
                by: (unsettled.is_none() && seen.thread != TOGETHER).then_some(seen.thread),
            }
        };
        let late = Known::Late { since: world.now };
        let looked_up = || {
            let looked_up = Self::look_ups(world, seen.name, known, Some(seen.thread), self.room());
            let is_attempt = seen.kind == PacketKind::New
                && !matches!(known, Known::Pending(_) | Known::Lost { .. });
            let mut all = Vec::new();
            for found in looked_up {
                match found {
                    Known::Nothing if is_attempt => {
                        all.push(Known::Attempt(Way {
                            grace_period: world.grace_period_of_packet(),
                            by: (seen.thread != TOGETHER).then_some(seen.thread),
                        }));
                        all.extend(self.may_have_forgotten.then_some(Known::Refused));
                    }
                    Known::Nothing => all.push(Known::Refused),
                    Known::Pending(_) => all.push(Known::Pending(way())),
                    Known::Attempt(_) => all.push(Known::Attempt(way())),
                    other => all.push(other),
                }
            }
            all
        };
        let under = answer == Answer::Under;
        let mut change = match (seen.kind, known) {
            (PacketKind::Aside, _) => vec![known],
            (PacketKind::New | PacketKind::Reopening { live: false }, _) if under => {
                vec![Known::Pending(way())]
            }
            (PacketKind::Reopening { .. }, _) if under => vec![Known::Admitted],
            (PacketKind::Live { assured: true, .. }, Known::Nothing | Known::Pending(_))
                if under =>
            {
                vec![known]
            }
            (PacketKind::Live { .. }, _) if under => vec![Known::Admitted],
            (PacketKind::New, Known::Nothing) if self.may_have_forgotten => {
                vec![Known::Attempt(way()), Known::Refused]
            }
            (PacketKind::New, Known::Nothing) => vec![Known::Attempt(way())],
            (PacketKind::Reopening { live: false }, Known::Nothing) => vec![Known::Refused],
            (PacketKind::New | PacketKind::Reopening { live: false }, _) => looked_up(),
            (PacketKind::Late { bare: false }, Known::Admitted | Known::LetThrough) if !under => {
                looked_up()
            }
            (PacketKind::Live { assured: true, .. }, Known::Nothing) if self.may_have_forgotten => {
                vec![known, Known::Refused]
            }
            (PacketKind::Live { assured: true, .. }, Known::Nothing) => vec![known],
            (
                PacketKind::Live { .. } | PacketKind::Reopening { .. },
                Known::Admitted | Known::LetThrough,
            ) => vec![known],
            (PacketKind::Reopening { .. }, Known::Pending(_)) => vec![Known::Admitted],
            (PacketKind::Live { .. } | PacketKind::Reopening { .. }, _) => vec![Known::Refused],
            (PacketKind::Late { bare: false }, _) => {
                vec![if under { late } else { Known::Refused }]
            }
            (PacketKind::Late { .. }, Known::Pending(_) | Known::Attempt(_)) => vec![known],
            (PacketKind::Late { .. }, Known::Nothing | Known::Late { .. } | Known::Refused) => {
                vec![if under { late } else { known }]
            }
            (PacketKind::Late { .. }, _) => vec![Known::Nothing],
        };
        // What begins is dropped for lack of memory; what goes on is not remembered.
        if self.may_lack_memory && known == Known::Nothing {
            change.push(known);
        }
        change
    }

    /// Notes what was told.
    pub fn note(&mut self, name: Name, answer: Answer, outcomes: Vec<(Answer, Known)>) {
        let after = outcomes
            .into_iter()
            .filter(|(allowed, _)| *allowed == answer)
            .map(|(_, known)| known);
        self.known.insert(name, after.collect());
    }

    /// Anything may have been looked up by deferred work, and by `thread` what is of the key of the
    /// packet that it handles.
    pub fn look(&mut self, world: &World, packet: Option<(KeyId, ThreadId)>) {
        let room = self.room();
        self.may_have_forgotten |= room[1];
        let touched = world.take_touched();
        // Of what has not changed, deferred work learns nothing new between two packets.
        let may_have_changed = |name: &Name| match packet {
            Some((key, _)) if !world.may_end_meanwhile() => name.0 == key || touched.contains(name),
            _ => true,
        };
        let thread = packet.map(|(_, thread)| thread);
        for (&name, all) in &mut self.known {
            if !may_have_changed(&name) {
                continue;
            }
            let is_live = world.tracked(name).is_some_and(Tracked::is_live);
            let mut more = Vec::new();
            for &known in all.iter().filter(|known| !known.stays(is_live)) {
                more.extend(Self::look_ups(world, name, known, None, room));
                if thread.is_some() {
                    more.extend(Self::look_ups(world, name, known, thread, room));
                }
            }
            if !more.is_empty() {
                all.extend(more);
                keep_extremes(all, |known| match known {
                    Known::Lost { since } => Some(since),
                    _ => None,
                });
                keep_extremes(all, |known| match known {
                    Known::Late { since } => Some(since),
                    _ => None,
                });
            }
        }
        self.known
            .retain(|_, all| all.len() > 1 || !all.contains(&Known::Nothing));
    }

    pub fn forget(&mut self, name: Name) {
        self.known.remove(&name);
    }
}

/// Of several that differ by a time only, those in between may not do what the others may not.
fn keep_extremes(all: &mut BTreeSet<Known>, time: impl Fn(Known) -> Option<u32>) {
    let times: Vec<u32> = all.iter().filter_map(|&known| time(known)).collect();
    let extremes = [times.iter().min(), times.iter().max()].map(|it| it.copied());
    all.retain(|&known| time(known).is_none_or(|_| extremes.contains(&time(known))));
}

/// Which answers are allowed for a packet of a connection of which this is known.
fn answers(known: Known, kind: PacketKind, counts: Counts, limit: usize) -> Vec<Answer> {
    let by_count = |itself: usize| {
        let mut answers = Vec::new();
        if counts.most + itself > limit {
            answers.push(Answer::Over);
        }
        if counts.least + itself <= limit {
            answers.push(Answer::Under);
        }
        answers
    };
    let where_let_through = |itself: usize| {
        let [surely, may_be] = counts.let_through;
        let mut answers = if may_be { by_count(itself) } else { Vec::new() };
        if !surely && !answers.contains(&Answer::Under) {
            answers.push(Answer::Under);
        }
        answers
    };
    match (kind, known) {
        (PacketKind::Live { syn: true, .. }, Known::Admitted | Known::Pending(_)) => {
            vec![Answer::Under]
        }
        // It was told under, and is admitted whether that was noted or not.
        (PacketKind::Live { .. }, Known::Admitted | Known::Pending(_)) => where_let_through(1),
        (PacketKind::Live { assured: true, .. }, Known::Nothing) => where_let_through(0),
        (PacketKind::Live { .. } | PacketKind::New | PacketKind::Reopening { .. }, _)
        | (PacketKind::Late { bare: false }, _)
        | (PacketKind::Late { .. }, Known::Refused) => by_count(1),
        (PacketKind::Late { .. } | PacketKind::Aside, _) => by_count(0),
    }
}
