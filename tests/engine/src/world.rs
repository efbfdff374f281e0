// SPDX-License-Identifier: GPL-2.0

//! A conntrack in which connections come and go.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::counting::{Connection, Environment, Fate, Key, Moment, PacketKind};
use crate::hash::HashKey;
use crate::history::Segment;

pub type KeyId = u8;
pub type ConnectionId = u16;
pub type ThreadId = u8;

/// Packets of this one are handled together: that one comes tells nothing of those before.
pub const TOGETHER: ThreadId = 15;

/// A key and a connection of it.
pub type Name = (KeyId, ConnectionId);

impl Key for KeyId {
    fn hash(&self, key: &HashKey) -> u32 {
        key.hash([u64::from(*self)])
    }
}

impl Connection for ConnectionId {
    fn hash(&self, tag: u16, key: &HashKey) -> u32 {
        key.hash([u64::from(*self), u64::from(tag)])
    }
}

/// How far a connection has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Live,
    TimeWait,
    Close {
        /// Nothing has come since but resets.
        by_reset: bool,
    },
}

/// A connection that conntrack has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tracked {
    pub assured: bool,
    pub phase: Phase,
}

impl Tracked {
    pub fn is_live(self) -> bool {
        matches!(self.phase, Phase::Live | Phase::Close { by_reset: false })
    }
}

/// A packet on its way to conntrack.
#[derive(Clone, Copy, Debug)]
struct Travelling {
    name: Name,
    thread: ThreadId,
    /// How many grace periods had begun.
    since: usize,
}

/// RCU, which knows of the packets on their way.
#[derive(Default)]
struct Rcu {
    begun: Cell<usize>,
    over: Cell<usize>,
    asked_for: usize,
    /// It goes on at the next look-up, once that has found nothing.
    meanwhile: Cell<bool>,
    /// It has.
    went_on: Cell<bool>,
    /// What had begun, and what was over, when the packet came that is being handled.
    at_packet: [usize; 2],
}

#[derive(Default)]
pub struct World {
    pub now: u32,
    tracked: RefCell<BTreeMap<Name, Tracked>>,
    /// When a look-up of a connection has begun to show something else, last.
    changed: RefCell<BTreeMap<Name, u32>>,
    /// What has changed since that was asked for.
    touched: RefCell<BTreeSet<Name>>,
    travelling: RefCell<Vec<Travelling>>,
    rcu: Rcu,
    thread: ThreadId,
    /// How many connections were looked up since this was set to 0.
    pub looked_up: Cell<usize>,
}

impl World {
    pub fn new(now: u32) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    pub fn tracked(&self, name: Name) -> Option<Tracked> {
        self.tracked.borrow().get(&name).copied()
    }

    /// Whether looking it up shows something else than at the beginning of this jiffy.
    pub fn has_just_changed(&self, name: Name) -> bool {
        self.changed.borrow().get(&name) == Some(&self.now)
    }

    pub fn tick(&mut self, jiffies: u32) {
        self.now = self.now.wrapping_add(jiffies);
    }

    /// A grace period ends, or the next one begins if it was asked for. Time does not matter: a packet
    /// may be on its way for long.
    pub fn step_of_rcu(&self) {
        let (begun, over) = (self.rcu.begun.get(), self.rcu.over.get());
        if over < begun {
            // It has waited for what was on its way when it began.
            self.arrive(|travelling| travelling.since < begun);
            self.rcu.over.set(begun);
        } else if over < self.rcu.asked_for {
            self.rcu.begun.set(begun + 1);
        }
    }

    /// The same, but in the midst of the next look-up.
    pub fn step_of_rcu_meanwhile(&self) {
        self.rcu.meanwhile.set(true);
    }

    /// Whether a grace period may begin or end while a packet is handled.
    pub fn may_end_meanwhile(&self) -> bool {
        self.rcu.meanwhile.get() || self.rcu.went_on.take()
    }

    /// Whether a grace period may end while this packet is handled.
    pub fn ends_meanwhile(&self, grace_period: usize) -> bool {
        self.rcu.meanwhile.get() && grace_period <= self.rcu.begun.get()
    }

    /// Whether a packet of a connection may arrive meanwhile.
    pub fn arrives_meanwhile(&self, name: Name) -> bool {
        let begun = self.rcu.begun.get();
        let travelling = self.travelling.borrow();
        self.rcu.meanwhile.get()
            && travelling
                .iter()
                .any(|packet| packet.name == name && packet.since < begun)
    }

    /// The grace period that waits for all packets on their way will begin.
    pub fn ask_for_grace_period(&mut self) {
        self.rcu.asked_for = self.grace_period();
    }

    /// The grace period that waits for the packet that is being handled.
    pub fn grace_period_of_packet(&self) -> usize {
        self.rcu.at_packet[0] + 1
    }

    /// Whether a grace period was over when that packet came.
    pub fn was_over(&self, grace_period: usize) -> bool {
        self.rcu.at_packet[1] >= grace_period
    }

    /// A thread handles another packet: those that it has let through are confirmed by now.
    pub fn begin(&mut self, thread: ThreadId) {
        self.arrive(|travelling| travelling.thread == thread && thread != TOGETHER);
        self.rcu.at_packet = [self.rcu.begun.get(), self.rcu.over.get()];
        self.thread = thread;
    }

    fn arrive(&self, which: impl Fn(&Travelling) -> bool) {
        let all = self.travelling.take();
        let (arrived, travelling) = all.into_iter().partition(which);
        self.travelling.replace(travelling);
        for Travelling { name, .. } in arrived {
            self.track(name, false);
        }
    }

    /// A packet that may begin a connection gets to conntrack. One that was reset by its server goes on
    /// as it is, but for that a packet has come; what else has ended is replaced.
    pub fn track(&self, name: Name, assured: bool) {
        // Of several first packets of one connection, conntrack confirms one.
        self.travelling
            .borrow_mut()
            .retain(|packet| packet.name != name);
        let phase = match self.tracked(name) {
            Some(tracked) if tracked.phase == Phase::Live => return,
            Some(Tracked {
                phase: Phase::Close { by_reset },
                ..
            }) if !(by_reset && is_reset_by_client(name)) => Phase::Close { by_reset: false },
            _ => Phase::Live,
        };
        self.set(name, Some(Tracked { assured, phase }));
    }

    /// The connections of which conntrack has something else than when this was called last.
    pub fn take_touched(&self) -> BTreeSet<Name> {
        self.touched.take()
    }

    /// Has conntrack have it like this from now on.
    pub fn set(&self, name: Name, tracked: Option<Tracked>) {
        self.touched.borrow_mut().insert(name);
        let mut all = self.tracked.borrow_mut();
        let shown = |tracked: Option<&Tracked>| tracked.map(|it| it.is_live());
        if shown(all.get(&name)) != shown(tracked.as_ref()) {
            self.changed.borrow_mut().insert(name, self.now);
        }
        match tracked {
            Some(tracked) => all.insert(name, tracked),
            None => all.remove(&name),
        };
    }

    /// The packet that was handled last was let through, and conntrack is yet to handle it.
    pub fn let_through(&mut self, name: Name) {
        if self.tracked(name).is_some_and(Tracked::is_live) {
            // Another one of it arrived meanwhile, and conntrack confirms one.
            return;
        }
        self.travelling.get_mut().push(Travelling {
            name,
            thread: self.thread,
            since: self.rcu.at_packet[0],
        });
    }

    /// What a packet shows that conntrack has looked at.
    pub fn kind(&self, name: Name, segment: Segment) -> PacketKind {
        let Some(tracked) = self.tracked(name) else {
            return PacketKind::New;
        };
        let close = |by_reset| {
            let phase = Phase::Close { by_reset };
            self.set(name, Some(Tracked { phase, ..tracked }));
        };
        match (tracked.phase, segment) {
            (_, Segment::Reset) => {
                close(true);
                PacketKind::Aside
            }
            (Phase::Live, _) => PacketKind::Live {
                assured: tracked.assured,
                syn: segment == Segment::Syn,
            },
            (Phase::Close { by_reset: true }, Segment::Syn) if is_reset_by_client(name) => {
                self.set(name, None);
                PacketKind::New
            }
            (Phase::Close { .. }, Segment::Syn) => {
                close(false);
                PacketKind::Reopening { live: true }
            }
            (Phase::Close { .. }, _) => {
                close(false);
                PacketKind::Late { bare: false }
            }
            (Phase::TimeWait, Segment::Syn) => {
                self.set(name, None);
                PacketKind::New
            }
            (Phase::TimeWait, _) => PacketKind::Late {
                bare: segment == Segment::Ack,
            },
        }
    }

    /// What a packet shows that conntrack has not looked at yet.
    pub fn kind_in_raw(&self, name: Name, segment: Segment) -> PacketKind {
        let Some(tracked) = self.tracked(name) else {
            return PacketKind::New;
        };
        match (tracked.phase, segment) {
            (Phase::Live, _) => PacketKind::Live {
                assured: tracked.assured,
                syn: segment == Segment::Syn,
            },
            (_, Segment::Reset) => PacketKind::Aside,
            (_, Segment::Syn) => PacketKind::Reopening {
                live: tracked.is_live(),
            },
            (phase, _) => PacketKind::Late {
                bare: phase == Phase::TimeWait && segment == Segment::Ack,
            },
        }
    }

    pub fn end_all(&mut self) {
        self.travelling.get_mut().clear();
        self.tracked.get_mut().clear();
    }

    /// What conntrack has of a connection at the end of a look-up in whose midst RCU goes on.
    pub fn tracked_meanwhile(&self, name: Name) -> Option<Tracked> {
        if self.tracked(name).is_none() && self.arrives_meanwhile(name) {
            return Some(Tracked {
                assured: false,
                phase: Phase::Live,
            });
        }
        self.tracked(name)
    }
}

/// Of what was reset, a SYN has conntrack begin anew where its own side has reset it.
pub fn is_reset_by_client((_, connection): Name) -> bool {
    connection % 3 == 0
}

impl Environment<KeyId, ConnectionId> for World {
    const HZ: u32 = 250;

    fn fate(&self, key: &KeyId, connection: &ConnectionId, _tag: u16) -> Fate {
        self.looked_up.set(self.looked_up.get() + 1);
        match self.tracked((*key, *connection)) {
            None => {
                if self.rcu.meanwhile.take() {
                    self.rcu.went_on.set(true);
                    self.step_of_rcu();
                }
                Fate::Gone
            }
            Some(tracked) if tracked.is_live() => Fate::Live,
            Some(_) => Fate::Ended,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            thread: (self.thread != TOGETHER).then_some(self.thread.into()),
        }
    }

    fn grace_period(&self) -> usize {
        self.rcu.begun.get() + 1
    }

    fn is_over(&self, state: usize) -> bool {
        self.rcu.over.get() >= state
    }
}
