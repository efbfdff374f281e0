// SPDX-License-Identifier: GPL-2.0

//! The table of allowed differences: what is in none of its rows fails. Ours decides in each of them as
//! it is to, which [`Ours`] tells; what either does, and why, stands with [`Difference`].

use super::entry::{Fate, PacketKind};
use super::history::{ConnectionId, Hook, Key};
use super::in_tree::List;
use super::ours::{Measure, Ours, View};
use super::world::{Progress, Sighting, World};
use crate::decision::Verdict;
use crate::difference::Difference;

/// A packet that was decided on twice, and otherwise the second time, although conntrack had the same
/// connections.
pub struct Scene<'a> {
    pub hook: Hook,
    pub limit: usize,
    pub ours: Verdict,
    pub in_tree: Verdict,
    pub sighting: Sighting,
    /// What in-tree has decided by.
    pub list: &'a List,
    pub world: &'a World,
    /// What ours may know.
    pub seen: &'a Ours,
    /// How ours may have seen the packet to decide so.
    pub views: Vec<View>,
}

/// How a difference shows.
#[derive(Clone, Copy)]
enum Effect {
    /// In-tree is over the limit only because it counts such entries of its list. Ours counts none.
    Counts(fn(&Scene, usize) -> bool),
    /// Ours is over the limit only because it counts such connections that in-tree does not have in its
    /// list. The packet's own may be one of them.
    CountsMore(fn(&Scene, ConnectionId) -> bool),
    /// One of the two decides by something else than its count.
    Decides(fn(&Scene) -> bool),
}

struct Row {
    difference: Difference,
    effect: Effect,
}

/// In this order: each connection is counted for one reason only.
const TABLE: [Row; 17] = [
    Row {
        difference: Difference::RefusedAttemptsCounted,
        effect: Effect::Counts(|scene, index| {
            let entry = scene.list.entries[index];
            entry != scene.sighting.connection && scene.seen.may_be_refused(scene.key(), entry)
        }),
    },
    Row {
        difference: Difference::StaleWithinJiffy,
        effect: Effect::Counts(|scene, index| {
            scene.list.checked == scene.world.jiffy() && scene.has_ended(index)
        }),
    },
    Row {
        difference: Difference::CountedTwice,
        effect: Effect::Counts(|scene, index| scene.is_repeated(index)),
    },
    Row {
        difference: Difference::StaleBehindItself,
        effect: Effect::Counts(|scene, index| {
            scene.sighting.progress == Progress::Confirmed
                && scene.list.checked != scene.world.jiffy()
                && scene.has_ended(index)
        }),
    },
    Row {
        difference: Difference::OlderConnectionAdded,
        effect: Effect::Counts(|scene, index| {
            let entry = scene.list.entries[index];
            !scene.seen.has_known(scene.key(), entry) && scene.world.is_open(entry)
        }),
    },
    Row {
        difference: Difference::BegunAnewUnseen,
        effect: Effect::Counts(|scene, index| scene.has_returned(scene.list.entries[index])),
    },
    Row {
        difference: Difference::BegunAnewUnseen,
        effect: Effect::CountsMore(|scene, it| !scene.is_itself(it) && scene.has_returned(it)),
    },
    Row {
        difference: Difference::ClosedMayComeBack,
        effect: Effect::CountsMore(|scene, it| {
            !scene.is_itself(it)
                && scene.is_closed(it)
                && scene.world.fates(it).contains(&Fate::Live)
        }),
    },
    Row {
        difference: Difference::LateCounted,
        effect: Effect::CountsMore(|scene, it| {
            scene.is_closed(it) && scene.seen.may_be_late(scene.key(), it)
        }),
    },
    Row {
        difference: Difference::EndedWithinJiffy,
        effect: Effect::CountsMore(|scene, it| {
            if scene.is_itself(it) {
                scene.is_aside() && scene.sighting.has_just_changed
            } else {
                !scene.world.is_open(it) && scene.world.has_just_changed(it)
            }
        }),
    },
    Row {
        difference: Difference::PendingInRaw,
        effect: Effect::CountsMore(|scene, it| {
            scene.hook == Hook::Raw
                && scene.seen.may_be_pending(scene.key(), it)
                && !scene.world.is_open(it)
        }),
    },
    Row {
        difference: Difference::OpenedAgainForgotten,
        effect: Effect::CountsMore(|scene, it| !scene.is_itself(it) && scene.world.is_revived(it)),
    },
    Row {
        difference: Difference::ReopeningCountsItself,
        effect: Effect::CountsMore(|scene, it| {
            let reopens = |view: &View| matches!(view.kind, PacketKind::Reopening { .. });
            scene.is_itself(it) && scene.views.iter().any(reopens)
        }),
    },
    Row {
        difference: Difference::LateCounted,
        effect: Effect::CountsMore(|scene, it| {
            let is_late = |view: &View| matches!(view.kind, PacketKind::Late { .. });
            scene.is_itself(it) && scene.views.iter().any(is_late)
        }),
    },
    Row {
        difference: Difference::AssuredNotAdded,
        effect: Effect::CountsMore(|scene, it| {
            if scene.is_itself(it) {
                scene.sighting.progress == Progress::Assured && !scene.sighting.closed
            } else {
                scene.world.is_open(it) && scene.world.is_assured(it)
            }
        }),
    },
    Row {
        difference: Difference::AdmittedSynOver,
        effect: Effect::Decides(|scene| {
            scene.ours == Verdict::Under
                && scene.in_tree == Verdict::Over
                && scene
                    .views
                    .iter()
                    .any(|view| view.measure == Measure::Nothing)
        }),
    },
    Row {
        difference: Difference::AssuredDropped,
        effect: Effect::Decides(|scene| {
            scene.in_tree == Verdict::Dropped
                && scene.sighting.progress == Progress::Assured
                && scene.list.entries.is_empty()
        }),
    },
];

impl Scene<'_> {
    fn key(&self) -> Key {
        self.sighting.key
    }

    fn is_itself(&self, connection: ConnectionId) -> bool {
        connection == self.sighting.connection
    }

    fn is_aside(&self) -> bool {
        self.sighting.kinds.contains(&PacketKind::Aside)
    }

    fn is_closed(&self, connection: ConnectionId) -> bool {
        let tracked = self.world.tracked(connection);
        tracked.is_some() && !self.world.is_open(connection)
    }

    /// The connection stands there once more.
    fn is_repeated(&self, index: usize) -> bool {
        self.list.entries[..index].contains(&self.list.entries[index])
    }

    /// It has ended and begun anew, and either may have forgotten it meanwhile.
    fn has_returned(&self, connection: ConnectionId) -> bool {
        self.seen.may_be_forgotten(self.key(), connection) && self.world.is_open(connection)
    }

    /// Conntrack does not have it any more, or calls it closed.
    fn has_ended(&self, index: usize) -> bool {
        let connection = self.list.entries[index];
        if self.is_itself(connection) {
            self.sighting.closed
        } else {
            !self.world.is_open(connection)
        }
    }

    /// All that ours may count and in-tree does not have in its list.
    fn counted_more(&self) -> Vec<ConnectionId> {
        let mut counted = self.seen.counted(self.world, &self.sighting);
        if self.views.iter().any(|view| view.measure.has_itself()) {
            counted.push(self.sighting.connection);
        }
        counted.retain(|it| !self.list.entries.contains(it));
        counted
    }

    /// For how many each row has one of the two count what the other does not.
    fn reasons(&self) -> Vec<(Difference, usize)> {
        let mut entries: Vec<usize> = (0..self.list.entries.len()).collect();
        let mut more = self.counted_more();
        let mut reasons = Vec::new();
        for row in &TABLE {
            let explained = match (row.effect, self.ours) {
                (Effect::Counts(counts), Verdict::Under) => {
                    let before = entries.len();
                    entries.retain(|&index| !counts(self, index));
                    before - entries.len()
                }
                (Effect::CountsMore(counts), Verdict::Over) => {
                    let before = more.len();
                    more.retain(|&it| !counts(self, it));
                    before - more.len()
                }
                _ => 0,
            };
            if explained > 0 {
                reasons.push((row.difference, explained));
            }
        }
        reasons
    }

    /// What explains that one of the two counts more.
    fn by_count(&self) -> Vec<Difference> {
        let count = match (self.ours, self.in_tree) {
            (Verdict::Under, Verdict::Over) => self.list.entries.len(),
            (Verdict::Over, Verdict::Under) => {
                self.views.iter().map(View::most).max().unwrap_or_default()
            }
            _ => return Vec::new(),
        };
        let is_enough = |explained: usize| count - explained.min(count) <= self.limit;
        let reasons = self.reasons();
        let all = reasons.iter().map(|(_, explained)| explained).sum();
        if let Some((alone, _)) = reasons.iter().find(|(_, explained)| is_enough(*explained)) {
            vec![*alone]
        } else if is_enough(all) {
            reasons
                .into_iter()
                .map(|(difference, _)| difference)
                .collect()
        } else {
            Vec::new()
        }
    }
}

/// The rows that explain a difference: one, or several that do so only together. None if nothing does.
pub fn explain(scene: &Scene) -> Vec<Difference> {
    let reasons = scene.by_count();
    if !reasons.is_empty() {
        return reasons;
    }
    let decides = |row: &&Row| matches!(row.effect, Effect::Decides(decides) if decides(scene));
    let row = TABLE.iter().find(decides);
    row.map(|row| row.difference).into_iter().collect()
}

/// All that the table has.
pub fn all() -> impl Iterator<Item = Difference> {
    TABLE.iter().map(|row| row.difference)
}
