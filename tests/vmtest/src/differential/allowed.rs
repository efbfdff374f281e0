// SPDX-License-Identifier: GPL-2.0

//! The table of allowed differences: what is in none of its rows fails. Ours decides in each of them as
//! it is to, which [`Ours`] tells; what either does, and why, stands with [`Difference`].

use super::history::{ConnectionId, Hook};
use super::in_tree::List;
use super::ours::{Counts, Ours};
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
    /// What ours has seen before, and what count it may decide by.
    pub seen: &'a Ours,
    pub counts: Counts,
}

/// How a difference shows.
#[derive(Clone, Copy)]
enum Effect {
    /// In-tree is over the limit only because it counts such entries of its list. Ours counts none.
    Counts(fn(&Scene, usize) -> bool),
    /// Ours is over the limit only because it counts so many that in-tree does not.
    CountsMore(fn(&Scene) -> usize),
    /// In-tree decides by something else than its count.
    Decides(fn(&Scene) -> bool),
}

struct Row {
    difference: Difference,
    effect: Effect,
}

/// In this order: each entry of a list is counted for one reason only.
const TABLE: [Row; 11] = [
    Row {
        difference: Difference::RefusedAttemptsCounted,
        effect: Effect::Counts(|scene, index| {
            let entry = scene.list.entries[index];
            entry != scene.sighting.connection
                && scene
                    .seen
                    .presumes_refused(scene.world, scene.sighting.key, entry)
        }),
    },
    Row {
        difference: Difference::StaleWithinJiffy,
        effect: Effect::Counts(|scene, index| {
            let itself = scene.connection(index) == scene.sighting.connection;
            scene.list.checked == scene.world.jiffy()
                && (scene.has_ended(index) || (itself && scene.sighting.over))
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
            !scene.seen.knows(scene.sighting.key, entry) && scene.world.is_live(entry)
        }),
    },
    Row {
        difference: Difference::BegunAnewUnseen,
        effect: Effect::Counts(|scene, index| scene.has_returned(scene.connection(index))),
    },
    Row {
        difference: Difference::BegunAnewUnseen,
        effect: Effect::CountsMore(|scene| scene.others(|it| scene.has_returned(it))),
    },
    Row {
        difference: Difference::EndedWithinJiffy,
        effect: Effect::CountsMore(|scene| scene.others(|it| !scene.world.is_live(it))),
    },
    Row {
        difference: Difference::OpenedAgainForgotten,
        effect: Effect::CountsMore(|scene| {
            scene.others(|it| scene.hook == Hook::Raw && scene.world.is_live(it))
        }),
    },
    Row {
        difference: Difference::LastPacketCounted,
        effect: Effect::CountsMore(|scene| {
            let Sighting {
                key, connection, ..
            } = scene.sighting;
            let is_last = scene.hook == Hook::Raw && scene.sighting.closed;
            let in_list = scene.list.entries.contains(&connection);
            usize::from(is_last && scene.seen.knows(key, connection) && !in_list)
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
    fn connection(&self, index: usize) -> ConnectionId {
        self.list.entries[index]
    }

    /// The connection stands there once more.
    fn is_repeated(&self, index: usize) -> bool {
        self.list.entries[..index].contains(&self.connection(index))
    }

    fn has_returned(&self, connection: ConnectionId) -> bool {
        self.seen
            .has_returned(self.world, self.sighting.key, connection)
    }

    /// How many connections that in-tree does not have there ours may count.
    fn others(&self, such: impl Fn(ConnectionId) -> bool) -> usize {
        self.seen.others(self.world, &self.sighting, |connection| {
            !self.list.entries.contains(&connection) && such(connection)
        })
    }

    /// Another connection that conntrack does not have, or calls closed.
    fn has_ended(&self, index: usize) -> bool {
        let connection = self.connection(index);
        connection != self.sighting.connection && !self.world.is_live(connection)
    }

    /// For how many each row has one of the two count what the other does not.
    fn reasons(&self) -> Vec<(Difference, usize)> {
        let mut entries: Vec<usize> = (0..self.list.entries.len()).collect();
        let mut reasons = Vec::new();
        for row in &TABLE {
            let explained = match (row.effect, self.ours) {
                (Effect::Counts(counts), Verdict::Under) => {
                    let before = entries.len();
                    entries.retain(|&index| !counts(self, index));
                    before - entries.len()
                }
                (Effect::CountsMore(count), Verdict::Over) => count(self),
                _ => 0,
            };
            if explained > 0 {
                reasons.push((row.difference, explained));
            }
        }
        reasons
    }
}

/// The rows that explain a difference: one, or several that do so only together. None if nothing does.
pub fn explain(scene: &Scene) -> Vec<Difference> {
    for row in &TABLE {
        if matches!(row.effect, Effect::Decides(decides) if decides(scene)) {
            return vec![row.difference];
        }
    }
    let count = match (scene.ours, scene.in_tree) {
        (Verdict::Under, Verdict::Over) => scene.list.entries.len(),
        (Verdict::Over, Verdict::Under) => scene.counts.most,
        _ => return Vec::new(),
    };
    let is_enough = |explained: usize| count - explained <= scene.limit;
    let reasons = scene.reasons();
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

/// All that the table has.
pub fn all() -> impl Iterator<Item = Difference> {
    TABLE.iter().map(|row| row.difference)
}
