// SPDX-License-Identifier: GPL-2.0

//! What happens, and a driver that lets it happen to the engine and to the model.

use kernel::memory;

use crate::counting::{Answer, Due, Environment, PacketKind, Shard, Sighting};
use crate::hash::HashKey;
use crate::model::{Model, Seen};
use crate::world::{Name, Phase, Tracked, World};

pub use crate::world::{ConnectionId, KeyId, ThreadId, TOGETHER};

/// One of the connections that is older than the rule: no other has such a number.
pub const OLD: ConnectionId = 1 << 12;

/// What happens to a packet after the rule.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Rules {
    /// The rule itself refuses those over the limit.
    pub refuse: bool,
    /// Another one drops it, whatever this one says.
    pub drop: bool,
}

impl Rules {
    const ACCEPT: Self = Self {
        refuse: false,
        drop: false,
    };
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Segment {
    Syn,
    Data,
    /// Neither data nor flags that matter.
    Ack,
    Reset,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Event {
    /// A packet from outside. Conntrack has looked at it, but in the table raw, and confirms its
    /// connection after the rules if that is new.
    Packet {
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
        rules: Rules,
        segment: Segment,
        raw: bool,
    },
    /// A first packet that conntrack has confirmed before the rules, as on loopback.
    Loopback {
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
        rules: Rules,
    },
    /// A connection that is older than the rule and was let through.
    Older {
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
    },
    /// An error about a connection, or a packet that is not tracked.
    Aside {
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
    },
    Assure {
        key: KeyId,
        connection: ConnectionId,
    },
    /// The server resets it.
    Reset {
        key: KeyId,
        connection: ConnectionId,
    },
    /// Both sides close it.
    Close {
        key: KeyId,
        connection: ConnectionId,
    },
    /// The server answers a SYN that conntrack has ignored.
    Revive {
        key: KeyId,
        connection: ConnectionId,
    },
    Expire {
        key: KeyId,
        connection: ConnectionId,
    },
    Tick {
        jiffies: u32,
    },
    /// Deferred work looks up so many connections.
    Sweep {
        count: usize,
    },
    /// A grace period of RCU begins or ends.
    Rcu,
    /// The same, while a connection is looked up that conntrack does not have.
    RcuMeanwhile,
}

/// A history, and what it happens to.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct History {
    pub limit: u32,
    /// Where the clock starts.
    pub start: u32,
    /// All hashes are the same.
    pub collide: bool,
    /// How many allocations succeed before none does.
    pub allocations: Option<u32>,
    pub events: Vec<Event>,
}

impl History {
    /// The same with numbers that the engine is made for: as many threads as it tells apart, and
    /// [`TOGETHER`], no pause so long that it would have swept meanwhile, and not so much that it
    /// takes long.
    pub fn within_bounds(mut self) -> Self {
        const LIMIT: u32 = 30;
        const JIFFIES: u32 = 1000;
        const LOOK_UPS: usize = 100;
        self.limit %= LIMIT;
        for event in &mut self.events {
            match event {
                Event::Packet {
                    connection, thread, ..
                }
                | Event::Loopback {
                    connection, thread, ..
                }
                | Event::Older {
                    connection, thread, ..
                }
                | Event::Aside {
                    connection, thread, ..
                } => {
                    *connection %= OLD;
                    *thread %= TOGETHER + 1;
                }
                Event::Assure { connection, .. }
                | Event::Reset { connection, .. }
                | Event::Close { connection, .. }
                | Event::Revive { connection, .. }
                | Event::Expire { connection, .. } => *connection %= OLD,
                Event::Tick { jiffies } => *jiffies %= JIFFIES,
                Event::Sweep { count } => *count %= LOOK_UPS,
                Event::Rcu | Event::RcuMeanwhile => {}
            }
        }
        self
    }
}

/// The deferred work begins anew so many jiffies after it was through.
const BETWEEN_SWEEPS: u32 = 3750;

struct Driver {
    since_sweep: u32,
    shard: Shard<KeyId, ConnectionId>,
    hash_key: HashKey,
    limit: u32,
    world: World,
    model: Model,
}

/// Lets it happen.
///
/// # Panics
///
/// If the engine decides otherwise than it may, or keeps what it is to forget.
pub fn run(history: &History) {
    let before = memory::in_use();
    memory::fail_after(history.allocations);
    let mut driver = Driver {
        shard: Shard::new(),
        hash_key: if history.collide {
            HashKey::constant()
        } else {
            HashKey::random()
        },
        limit: history.limit,
        world: World::new(history.start),
        since_sweep: 0,
        model: Model::new(history.allocations.is_some()),
    };
    for event in &history.events {
        driver.happen(*event);
    }
    memory::fail_after(None);
    driver.end();
    drop(driver);
    assert_eq!(memory::in_use(), before, "memory has leaked");
}

impl Driver {
    fn happen(&mut self, event: Event) {
        let mut by = None;
        match event {
            Event::Packet {
                key,
                connection,
                thread,
                rules,
                segment,
                raw,
            } => {
                by = Some((key, thread));
                self.begin(key, thread);
                let name = (key, connection);
                let kind = if raw {
                    self.world.kind_in_raw(name, segment)
                } else {
                    self.world.kind(name, segment)
                };
                let passes = self.packet(key, connection, thread, kind, rules);
                if raw && passes && matches!(kind, PacketKind::Late { .. } | PacketKind::Aside) {
                    // Conntrack takes note of it.
                    self.world.kind(name, segment);
                }
            }
            Event::Loopback {
                key,
                connection,
                thread,
                rules,
            } => {
                by = Some((key, thread));
                self.begin(key, thread);
                self.world.track((key, connection), false);
                let kind = self.world.kind((key, connection), Segment::Syn);
                self.packet(key, connection, thread, kind, rules);
            }
            Event::Older {
                key,
                connection,
                thread,
            } => {
                by = Some((key, thread));
                let connection = connection | OLD;
                self.begin(key, thread);
                self.world.set((key, connection), None);
                self.world.track((key, connection), true);
                let kind = PacketKind::Live {
                    assured: true,
                    syn: false,
                };
                self.packet(key, connection, thread, kind, Rules::ACCEPT);
            }
            Event::Aside {
                key,
                connection,
                thread,
            } => {
                by = Some((key, thread));
                self.begin(key, thread);
                self.packet(key, connection, thread, PacketKind::Aside, Rules::ACCEPT);
            }
            Event::Assure { key, connection } => self.change((key, connection), |tracked| {
                tracked.assured = true;
            }),
            Event::Reset { key, connection } => self.change((key, connection), |tracked| {
                tracked.phase = Phase::Close { by_reset: true };
            }),
            Event::Close { key, connection } => self.change((key, connection), |tracked| {
                if tracked.phase == Phase::Live {
                    tracked.phase = Phase::TimeWait;
                }
            }),
            Event::Revive { key, connection } => self.change((key, connection), |tracked| {
                if tracked.phase == (Phase::Close { by_reset: false }) {
                    tracked.phase = Phase::Live;
                }
            }),
            Event::Expire { key, connection } => self.world.set((key, connection), None),
            Event::Tick { jiffies } => {
                self.world.tick(jiffies);
                self.since_sweep += jiffies;
                if self.since_sweep >= BETWEEN_SWEEPS {
                    self.sweep_all();
                }
            }
            Event::Sweep { count } => {
                self.world.ask_for_grace_period();
                if self.shard.sweep(count, &self.hash_key, &self.world) {
                    self.shard.begin_sweep();
                }
            }
            Event::Rcu => self.world.step_of_rcu(),
            Event::RcuMeanwhile => self.world.step_of_rcu_meanwhile(),
        }
        self.model.look(&self.world, by);
    }

    fn begin(&mut self, key: KeyId, thread: ThreadId) {
        self.world.begin(thread);
        self.model.look(&self.world, Some((key, thread)));
    }

    /// Changes what conntrack has of a connection, if it has it.
    fn change(&mut self, name: Name, change: impl FnOnce(&mut Tracked)) {
        if let Some(mut tracked) = self.world.tracked(name) {
            change(&mut tracked);
            self.world.set(name, Some(tracked));
        }
    }

    /// Returns whether it gets through.
    fn packet(
        &mut self,
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
        kind: PacketKind,
        rules: Rules,
    ) -> bool {
        let Some(answer) = self.decide(key, connection, thread, kind) else {
            return false;
        };
        let is_refused = rules.refuse && answer == Answer::Over;
        let passes = !(rules.drop || is_refused);
        if matches!(kind, PacketKind::New | PacketKind::Reopening { .. }) && passes {
            self.world.let_through((key, connection));
        }
        passes
    }

    /// What the engine says, if it has memory to.
    fn decide(
        &mut self,
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
        kind: PacketKind,
    ) -> Option<Answer> {
        let name = (key, connection);
        let seen = Seen { name, thread, kind };
        let limit = self.limit as usize;
        let counts = self.model.counts(&self.world, seen);
        let outcomes = self.model.outcomes(&self.world, seen, limit);
        let sighting = Sighting {
            connection,
            tag: key.into(),
            kind,
        };
        self.world.looked_up.set(0);
        let hash = crate::counting::Key::hash(&key, &self.hash_key);
        let decided = self.shard.decide(
            &key,
            hash,
            &sighting,
            self.limit,
            &self.hash_key,
            &self.world,
        );
        assert!(
            self.world.looked_up.get() <= 2100,
            "{} look-ups for a packet",
            self.world.looked_up.get()
        );
        let Ok(decision) = decided else {
            let begins = matches!(
                kind,
                PacketKind::New
                    | PacketKind::Reopening { .. }
                    | PacketKind::Live { assured: false, .. }
            );
            assert!(
                begins && self.model.may_be_unknown(name),
                "a packet that needs no memory was dropped for lack of it"
            );
            self.model.forget(name);
            return None;
        };
        // Whoever adds something sees to it that a sweep comes.
        assert!(decision.sweep.is_none() || !self.shard.is_empty());
        let answer = decision.answer;
        assert!(
            outcomes.iter().any(|(allowed, _)| *allowed == answer),
            "{answer:?} for {kind:?} with a limit of {limit} and {counts:?}: {outcomes:?}"
        );
        self.model.note(name, answer, outcomes);
        if decision.grace_period {
            self.world.ask_for_grace_period();
        }
        // Deferred work is at times as quick as it should be.
        if decision.sweep == Some(Due::Now) && connection % 2 == 0 {
            self.sweep_all();
        }
        Some(answer)
    }

    fn sweep_all(&mut self) {
        self.since_sweep = 0;
        self.world.ask_for_grace_period();
        self.shard.begin_sweep();
        while !self.shard.sweep(64, &self.hash_key, &self.world) {}
    }

    /// Everything is over, and nothing happens any more but that the deferred work is done.
    fn end(&mut self) {
        const MORE_THAN_LOST: u32 = 6 * <World as Environment<_, _>>::HZ;
        self.world.end_all();
        for _ in 0..2 {
            self.sweep_all();
            for _ in 0..4 {
                self.world.step_of_rcu();
            }
        }
        // What is lost now is forgotten then.
        self.sweep_all();
        self.world.tick(MORE_THAN_LOST);
        self.sweep_all();
        assert!(self.shard.is_empty(), "something is remembered still");
    }
}
