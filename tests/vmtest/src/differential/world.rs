// SPDX-License-Identifier: GPL-2.0

//! What conntrack had in the course of a history, as one of the implementations saw it.

use super::history::{Action, ConnectionId, History, Hook, Key, Kind, Packet, Step};
use super::record::{Outcome, Record, Tracked};
use crate::decision::Verdict;
use crate::rules::Target;

#[derive(Clone, Debug)]
pub struct World {
    connections: Vec<Known>,
    /// Jiffies are counted; between two of these there may have been many.
    jiffy: usize,
}

#[derive(Clone, Debug, Default)]
struct Known {
    tracked: Option<Tracked>,
    /// The jiffy in which it became live or ceased to be, or became assured.
    changed: Option<usize>,
}

/// How far a connection is when the rule sees a packet of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Unconfirmed,
    Confirmed,
    Assured,
}

/// A packet that the rule has seen.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    pub connection: ConnectionId,
    pub key: Key,
    pub progress: Progress,
    /// Conntrack calls it closed.
    pub closed: bool,
    /// The same after it has looked at the packet.
    pub over: bool,
    /// Conntrack has thrown it out because of this packet: nothing finds it any more.
    pub removed: bool,
}

fn is_live(tracked: Option<&Tracked>) -> bool {
    tracked.is_some_and(|tracked| !tracked.is_closed())
}

fn is_assured(tracked: Option<&Tracked>) -> bool {
    tracked.is_some_and(|tracked| tracked.assured)
}

impl World {
    pub fn new(history: &History) -> Self {
        Self {
            connections: vec![Known::default(); history.connections.len()],
            jiffy: 0,
        }
    }

    pub fn begin(&mut self, step: &Step) {
        if !step.at_once {
            self.jiffy += 1;
        }
    }

    /// Notes what a step has brought about.
    pub fn note(&mut self, record: &Record) {
        for (connection, tracked) in &record.states {
            let known = &mut self.connections[*connection];
            let (before, after) = (known.tracked.as_ref(), tracked.as_ref());
            if is_live(before) != is_live(after) || is_assured(before) != is_assured(after) {
                known.changed = Some(self.jiffy);
            }
            known.tracked.clone_from(tracked);
        }
    }

    pub fn jiffy(&self) -> usize {
        self.jiffy
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.connections
            .iter()
            .zip(&other.connections)
            .all(|(one, other)| one.tracked == other.tracked)
    }

    pub fn tracked(&self, connection: ConnectionId) -> Option<&Tracked> {
        self.connections[connection].tracked.as_ref()
    }

    pub fn is_live(&self, connection: ConnectionId) -> bool {
        is_live(self.tracked(connection))
    }

    pub fn is_assured(&self, connection: ConnectionId) -> bool {
        is_assured(self.tracked(connection))
    }

    /// In this jiffy, which may have escaped whoever has looked before.
    pub fn has_just_changed(&self, connection: ConnectionId) -> bool {
        self.connections[connection].changed == Some(self.jiffy)
    }

    /// What the rule has seen of a step that it has decided on: before it is noted.
    pub fn sighting(&self, history: &History, step: &Step, record: &Record) -> Option<Sighting> {
        let (Action::Send(packet), Outcome::Decided(verdict)) = (step.action, record.outcome)
        else {
            return None;
        };
        let connection = packet.connection;
        let before = self.tracked(connection);
        let after = record
            .states
            .iter()
            .find(|(changed, _)| *changed == connection)
            .and_then(|(_, tracked)| tracked.as_ref());
        let is_closed = |tracked: Option<&Tracked>| tracked.is_some_and(Tracked::is_closed);
        let (seen, closed, removed) = match history.setting.hook {
            // Conntrack has not looked at the packet yet.
            Hook::Raw => (before, is_closed(before), false),
            Hook::Forward if begins_anew(&packet, before, after) => (None, false, false),
            Hook::Forward | Hook::Input => {
                // The reset that refuses a packet comes after the rule.
                let matches = if history.rule.upto {
                    Verdict::Under
                } else {
                    Verdict::Over
                };
                let by_rule = history.rule.target == Target::Reject
                    && verdict == matches
                    && packet.kind != Kind::Rst
                    && !is_closed(before);
                let removed = before.is_some() && after.is_none() && !by_rule;
                let closed = (removed || is_closed(after)) && !by_rule;
                (after.or(before), closed, removed)
            }
        };
        Some(Sighting {
            connection,
            key: history.key(&packet),
            progress: match seen {
                None => Progress::Unconfirmed,
                Some(tracked) if tracked.assured => Progress::Assured,
                Some(_) => Progress::Confirmed,
            },
            closed,
            over: closed && history.setting.hook != Hook::Raw,
            removed,
        })
    }
}

/// Whether conntrack makes a new connection of the packet.
fn begins_anew(packet: &Packet, before: Option<&Tracked>, after: Option<&Tracked>) -> bool {
    match before {
        None => true,
        Some(before) => packet.kind == Kind::Syn && before.is_closed() && after != Some(before),
    }
}
