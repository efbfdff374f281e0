// SPDX-License-Identifier: GPL-2.0

//! What in-tree does with its lists: `net/netfilter/nf_conncount.c` for one CPU, and without the limit
//! of 64 removals at a time, which no history comes near.

use std::collections::BTreeMap;

use super::history::{ConnectionId, Key};
use super::world::{Progress, Sighting, World};
use crate::decision::Verdict;

/// A key's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub entries: Vec<ConnectionId>,
    /// The jiffy in which all of it was looked up last, or it was made.
    pub checked: usize,
}

/// The lists that a key may have; none if it is not in the tree.
///
/// A packet of a new key has it look at lists of some others, and drop the empty ones: of those that
/// a random hash puts on its way.
type Possible = Vec<Option<List>>;

#[derive(Default)]
pub struct InTree {
    lists: BTreeMap<Key, Possible>,
}

impl InTree {
    /// Takes note of a packet and what was decided. Returns the list that the decision was made by, or
    /// none if this does not know how it was made.
    pub fn decide(
        &mut self,
        world: &World,
        sighting: &Sighting,
        limit: usize,
        verdict: Verdict,
    ) -> Option<List> {
        let possible = self
            .lists
            .remove(&sighting.key)
            .unwrap_or_else(|| vec![None]);
        let may_be_new = possible.contains(&None);
        let mut outcomes = Vec::new();
        for list in possible {
            let list = packet(list, world, sighting);
            if !outcomes.contains(&list) {
                outcomes.push(list);
            }
        }
        let agree = |list: &List| decision(list, limit) == verdict;
        let found = outcomes.iter().find(|list| agree(list)).cloned();
        if found.is_some() {
            outcomes.retain(agree);
        }
        if may_be_new {
            self.look_at_others(world);
        }
        let outcomes = outcomes.into_iter().map(Some).collect();
        self.lists.insert(sighting.key, outcomes);
        found
    }

    fn look_at_others(&mut self, world: &World) {
        for possible in self.lists.values_mut() {
            for list in possible.clone().into_iter().flatten() {
                let checked = collect(list, world, None);
                let empty = checked.entries.is_empty();
                for other in [Some(checked)].into_iter().chain(empty.then_some(None)) {
                    if !possible.contains(&other) {
                        possible.push(other);
                    }
                }
            }
        }
    }
}

fn decision(list: &List, limit: usize) -> Verdict {
    match list.entries.len() {
        0 => Verdict::Dropped,
        count if count > limit => Verdict::Over,
        _ => Verdict::Under,
    }
}

/// `count_tree()` and `insert_tree()`.
fn packet(list: Option<List>, world: &World, sighting: &Sighting) -> List {
    match list {
        None => List {
            entries: vec![sighting.connection],
            checked: world.jiffy(),
        },
        Some(list) if sighting.progress == Progress::Assured => {
            if list.entries.is_empty() {
                list
            } else {
                collect(list, world, Some(sighting))
            }
        }
        Some(list) => add(list, world, sighting),
    }
}

fn is_found(world: &World, entry: ConnectionId, sighting: Option<&Sighting>) -> bool {
    match sighting {
        Some(sighting) if sighting.connection == entry => {
            sighting.progress != Progress::Unconfirmed && !sighting.removed
        }
        _ => world.tracked(entry).is_some(),
    }
}

fn is_over(world: &World, entry: ConnectionId, sighting: Option<&Sighting>) -> bool {
    let closed = match sighting {
        Some(sighting) if sighting.connection == entry => sighting.closed,
        _ => !world.is_open(entry),
    };
    closed || !is_found(world, entry, sighting)
}

/// `nf_conncount_gc_list()`
fn collect(mut list: List, world: &World, sighting: Option<&Sighting>) -> List {
    if list.checked != world.jiffy() {
        list.entries
            .retain(|&entry| !is_over(world, entry, sighting));
        list.checked = world.jiffy();
    }
    list
}

/// `__nf_conncount_add()`
fn add(mut list: List, world: &World, sighting: &Sighting) -> List {
    let is_confirmed = sighting.progress != Progress::Unconfirmed;
    if is_confirmed || list.checked != world.jiffy() {
        let mut index = 0;
        while let Some(&entry) = list.entries.get(index) {
            let found = is_found(world, entry, Some(sighting));
            if found && entry == sighting.connection {
                return list;
            }
            if is_over(world, entry, Some(sighting)) {
                list.entries.remove(index);
            } else {
                index += 1;
            }
        }
        list.checked = world.jiffy();
    }
    list.entries.push(sighting.connection);
    list
}
