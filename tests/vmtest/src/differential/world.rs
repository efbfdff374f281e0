// SPDX-License-Identifier: GPL-2.0

//! What conntrack had in the course of a history, as one of the implementations saw it.

use std::time::Duration;

use super::entry::{Entry, Fate, PacketKind};
use super::history::{Action, ConnectionId, History, Hook, Key, Kind, Packet, Side, Step};
use super::record::{Outcome, Record, Tracked};
use crate::decision::Verdict;
use crate::rules::Target;

#[derive(Clone, Debug)]
pub struct World {
    /// After those of the history, what stands for their packets without a connection.
    connections: Vec<Entry>,
    /// Jiffies are counted; between two of these there may have been many.
    jiffy: usize,
    now: Moment,
}

/// A time, as far as it is entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    seconds_waited: u32,
    steps: u32,
}

/// No step takes longer, but for those that wait.
const STEP: Duration = Duration::from_millis(50);

impl Moment {
    /// How long ago that was, at least and at most.
    pub fn since(self, earlier: Self) -> [Duration; 2] {
        let waited = Duration::from_secs((self.seconds_waited - earlier.seconds_waited).into());
        [waited, waited + STEP * (self.steps - earlier.steps)]
    }
}

/// How far a connection is when the rule sees a packet of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Unconfirmed,
    Confirmed,
    Assured,
}

/// A packet that the rule has seen.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub connection: ConnectionId,
    pub key: Key,
    /// What it may be. It is one of two where nothing shows which packet was the last one that conntrack
    /// has taken.
    pub kinds: Vec<PacketKind>,
    pub progress: Progress,
    /// Conntrack calls it closed.
    pub closed: bool,
    /// Conntrack has thrown it out because of this packet: nothing finds it any more.
    pub removed: bool,
    /// What looking its own connection up may show.
    pub fates: Vec<Fate>,
    /// The same has changed in this jiffy, maybe by this very packet.
    pub has_just_changed: bool,
}

impl World {
    pub fn new(history: &History) -> Self {
        Self {
            connections: vec![Entry::default(); 3 * history.connections.len()],
            jiffy: 0,
            now: Moment::default(),
        }
    }

    pub fn begin(&mut self, step: &Step) {
        if !step.at_once {
            self.jiffy += 1;
        }
        self.now.steps += 1;
    }

    /// Notes what a step has brought about.
    pub fn note(&mut self, history: &History, step: &Step, record: &Record) {
        if let Action::Wait { seconds } = step.action {
            self.now.seconds_waited += seconds;
        }
        for (connection, tracked) in &record.states {
            let entry = &mut self.connections[*connection];
            let before = entry.fates();
            match step.action {
                Action::Send(packet) if record.outcome != Outcome::Idle => {
                    if history.setting.hook == Hook::Raw && is_dropped(history, record.outcome) {
                        entry.missed = true;
                    } else {
                        // Where there are zones, the reset is in none of them.
                        let is_rejected = is_rejected(history, &packet, record.outcome);
                        if is_rejected && !history.setting.zones {
                            entry.take_and_reset(&packet, tracked.as_ref());
                        } else {
                            entry.take(&packet, tracked.as_ref());
                        }
                    }
                }
                _ => (),
            }
            entry.tracked.clone_from(tracked);
            if entry.fates() != before {
                entry.changed = Some(self.jiffy);
            }
        }
    }

    pub fn jiffy(&self) -> usize {
        self.jiffy
    }

    pub fn now(&self) -> Moment {
        self.now
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.connections
            .iter()
            .zip(&other.connections)
            .all(|(one, other)| one.tracked == other.tracked && one.fates() == other.fates())
    }

    pub fn tracked(&self, connection: ConnectionId) -> Option<&Tracked> {
        self.connections[connection].tracked.as_ref()
    }

    /// Whether conntrack has it, and does not call it closed.
    pub fn is_open(&self, connection: ConnectionId) -> bool {
        self.tracked(connection)
            .is_some_and(|tracked| !tracked.is_closed())
    }

    pub fn is_assured(&self, connection: ConnectionId) -> bool {
        self.tracked(connection)
            .is_some_and(|tracked| tracked.assured)
    }

    /// Whether it was closed, and goes on all the same.
    pub fn is_revived(&self, connection: ConnectionId) -> bool {
        self.connections[connection].was_closed && self.is_open(connection)
    }

    /// What looking it up may show.
    pub fn fates(&self, connection: ConnectionId) -> Vec<Fate> {
        self.connections[connection].fates()
    }

    /// In this jiffy, which may have escaped whoever has looked before.
    pub fn has_just_changed(&self, connection: ConnectionId) -> bool {
        self.connections[connection].changed == Some(self.jiffy)
    }

    /// What the rule has seen of a step that it has decided on: before it is noted.
    pub fn sighting(&self, history: &History, step: &Step, record: &Record) -> Option<Sighting> {
        let (Action::Send(packet), Outcome::Decided(_)) = (step.action, record.outcome) else {
            return None;
        };
        let connection = packet.connection;
        let before = &self.connections[connection];
        let after = record
            .states
            .iter()
            .find(|(changed, _)| *changed == connection)
            .and_then(|(_, tracked)| tracked.as_ref());
        if history.setting.hook == Hook::Forward
            && history.setting.zones
            && before.is_invalid(&packet)
        {
            return Some(unrelated(history, &packet));
        }
        let (seen, removed) = match history.setting.hook {
            // Conntrack has not looked at the packet yet.
            Hook::Raw => (before.clone(), false),
            Hook::Forward if before.is_begun_by(&packet, after) => (Entry::default(), false),
            Hook::Forward | Hook::Input => {
                let is_closed = after.is_none_or(|after| after.state == "CLOSE");
                let after = if is_closed && is_rejected(history, &packet, record.outcome) {
                    before.before_reject(&packet, after)
                } else {
                    after.cloned()
                };
                // A reset that conntrack throws a connection out for closes it first.
                let removed = after.is_none() && before.tracked.is_some();
                let thrown_out = before.tracked.clone().map(|tracked| Tracked {
                    state: "CLOSE".to_owned(),
                    ..tracked
                });
                let mut seen = before.clone();
                seen.take(&packet, after.or(thrown_out).as_ref());
                (seen, removed)
            }
        };
        let fates = if removed {
            vec![Fate::Gone]
        } else {
            seen.fates()
        };
        Some(Sighting {
            connection,
            key: history.key(&packet),
            kinds: seen.kinds(&packet),
            progress: match &seen.tracked {
                None => Progress::Unconfirmed,
                Some(tracked) if tracked.assured => Progress::Assured,
                Some(_) => Progress::Confirmed,
            },
            closed: seen.is_closed(),
            removed,
            has_just_changed: self.has_just_changed(connection) || fates != before.fates(),
            fates,
        })
    }
}

/// A packet that conntrack calls invalid where there are zones. It has taken away what tells the zone,
/// and in that which is left there is no connection.
fn unrelated(history: &History, packet: &Packet) -> Sighting {
    let (network, _) = history.key(packet);
    let side = match packet.from {
        Side::Client => 1,
        Side::Server => 2,
    };
    Sighting {
        connection: packet.connection + side * history.connections.len(),
        key: (network, 0),
        kinds: vec![PacketKind::New],
        progress: Progress::Unconfirmed,
        closed: false,
        removed: false,
        fates: vec![Fate::Gone],
        has_just_changed: false,
    }
}

/// Whether the rule has its target decide on the packet.
fn is_matched(history: &History, outcome: Outcome) -> bool {
    let matches = if history.rule.upto {
        Verdict::Under
    } else {
        Verdict::Over
    };
    outcome == Outcome::Decided(matches)
}

fn is_dropped(history: &History, outcome: Outcome) -> bool {
    outcome == Outcome::Decided(Verdict::Dropped)
        || (history.rule.target != Target::None && is_matched(history, outcome))
}

/// Whether the rule has answered the packet with a reset. That comes after it has seen the packet.
fn is_rejected(history: &History, packet: &Packet, outcome: Outcome) -> bool {
    history.rule.target == Target::Reject
        && is_matched(history, outcome)
        && packet.kind != Kind::Rst
}
