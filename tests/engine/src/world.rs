// SPDX-License-Identifier: GPL-2.0

//! A conntrack in which connections come and go.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::counting::{Connection, Environment, Fate, Key, Moment, Progress};
use crate::hash::HashKey;

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

/// A connection that conntrack has.
#[derive(Clone, Copy, Debug)]
pub struct Tracked {
    pub assured: bool,
    pub closed: bool,
}

/// A packet on its way to be confirmed.
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
    /// What had begun, and what was over, when the packet came that is being handled.
    at_packet: [usize; 2],
}

#[derive(Default)]
pub struct World {
    pub now: u32,
    tracked: RefCell<BTreeMap<Name, Tracked>>,
    /// When a connection has become assured or ended, last.
    changed: BTreeMap<Name, u32>,
    travelling: RefCell<Vec<Travelling>>,
    rcu: Rcu,
    thread: ThreadId,
    /// How many packets each thread has handled.
    turns: BTreeMap<ThreadId, u32>,
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

    /// Whether it has become assured or ended in this jiffy.
    pub fn has_just_changed(&self, name: Name) -> bool {
        self.changed.get(&name) == Some(&self.now)
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
        *self.turns.entry(thread).or_default() += 1;
    }

    pub fn turn(&self, thread: ThreadId) -> u32 {
        self.turns.get(&thread).copied().unwrap_or_default()
    }

    /// Whether the thread has handled more packets than so many.
    pub fn has_gone_on(&self, thread: ThreadId, turn: u32) -> bool {
        self.turn(thread) > turn
    }

    fn arrive(&self, which: impl Fn(&Travelling) -> bool) {
        let all = self.travelling.take();
        let (arrived, travelling) = all.into_iter().partition(which);
        self.travelling.replace(travelling);
        for Travelling { name, .. } in arrived {
            self.track(name, false);
        }
    }

    /// Conntrack has it from now on, if it has not.
    pub fn track(&self, name: Name, assured: bool) {
        // Of several first packets of one connection, conntrack confirms one.
        self.travelling
            .borrow_mut()
            .retain(|packet| packet.name != name);
        if self.tracked(name).is_none_or(|tracked| tracked.closed) {
            self.tracked.borrow_mut().insert(
                name,
                Tracked {
                    assured,
                    closed: false,
                },
            );
        }
    }

    /// The packet that was handled last was let through, unconfirmed.
    pub fn let_through(&mut self, name: Name) {
        if self.tracked(name).is_some() {
            // Another one of it arrived meanwhile, and conntrack confirms one.
            return;
        }
        self.travelling.get_mut().push(Travelling {
            name,
            thread: self.thread,
            since: self.rcu.at_packet[0],
        });
    }

    /// Whether a packet of it is on its way to be confirmed.
    pub fn is_travelling(&self, name: Name) -> bool {
        let travelling = self.travelling.borrow();
        travelling.iter().any(|packet| packet.name == name)
    }

    pub fn assure(&mut self, name: Name) {
        if let Some(tracked) = self.tracked.get_mut().get_mut(&name) {
            if !tracked.closed && !tracked.assured {
                tracked.assured = true;
                self.changed.insert(name, self.now);
            }
        }
    }

    pub fn close(&mut self, name: Name) {
        if let Some(tracked) = self.tracked.get_mut().get_mut(&name) {
            if !tracked.closed {
                tracked.closed = true;
                self.changed.insert(name, self.now);
            }
        }
    }

    pub fn expire(&mut self, name: Name) {
        let old = self.tracked.get_mut().remove(&name);
        if old.is_some_and(|old| !old.closed) {
            self.changed.insert(name, self.now);
        }
    }

    pub fn forget_closed(&mut self, name: Name) {
        if self.tracked(name).is_some_and(|tracked| tracked.closed) {
            self.tracked.get_mut().remove(&name);
        }
    }

    pub fn end_all(&mut self) {
        self.travelling.get_mut().clear();
        self.tracked.get_mut().clear();
    }

    pub fn progress(&self, name: Name) -> Progress {
        match self.tracked(name) {
            Some(Tracked { closed: true, .. }) | None => Progress::Unconfirmed,
            Some(Tracked { assured: true, .. }) => Progress::Assured,
            Some(_) => Progress::Confirmed,
        }
    }
}

impl Environment<KeyId, ConnectionId> for World {
    const HZ: u32 = 250;

    fn fate(&self, key: &KeyId, connection: &ConnectionId, _tag: u16) -> Fate {
        self.looked_up.set(self.looked_up.get() + 1);
        match self.tracked((*key, *connection)) {
            None => {
                if self.rcu.meanwhile.take() {
                    self.step_of_rcu();
                }
                Fate::Unknown
            }
            Some(Tracked { closed: true, .. }) => Fate::Closed,
            Some(Tracked { assured, .. }) => Fate::Live { assured },
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
