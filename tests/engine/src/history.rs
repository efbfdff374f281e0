// SPDX-License-Identifier: GPL-2.0

//! What happens, and a driver that lets it happen to the engine and to the model.

use kernel::memory;

use crate::counting::{Answer, Due, Progress, Shard, Sighting};
use crate::hash::HashKey;
use crate::model::Model;
use crate::world::{Tracked, World};

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

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Event {
    /// A packet from outside, which conntrack confirms after the rules, or one of a connection that
    /// it has.
    Packet {
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
        rules: Rules,
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
    /// A packet of a connection that is over, if conntrack has it still.
    Late {
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
    },
    Assure {
        key: KeyId,
        connection: ConnectionId,
    },
    Close {
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
                | Event::Late {
                    connection, thread, ..
                } => {
                    *connection %= OLD;
                    *thread %= TOGETHER + 1;
                }
                Event::Assure { connection, .. }
                | Event::Close { connection, .. }
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
        model: Model::default(),
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
        match event {
            Event::Packet {
                key,
                connection,
                thread,
                rules,
            } => {
                self.world.begin(thread);
                self.packet(key, connection, thread, rules);
            }
            Event::Loopback {
                key,
                connection,
                thread,
                rules,
            } => {
                self.world.begin(thread);
                self.world.track((key, connection), false);
                self.packet(key, connection, thread, rules);
            }
            Event::Older {
                key,
                connection,
                thread,
            } => {
                let connection = connection | OLD;
                self.world.begin(thread);
                self.world.expire((key, connection));
                self.world.track((key, connection), true);
                let rules = Rules {
                    refuse: false,
                    drop: false,
                };
                self.packet(key, connection, thread, rules);
            }
            Event::Late {
                key,
                connection,
                thread,
            } => {
                self.world.begin(thread);
                let tracked = self.world.tracked((key, connection));
                if let Some(Tracked {
                    closed: true,
                    assured,
                }) = tracked
                {
                    self.model.look(&self.world);
                    self.decide(key, connection, thread, Progress::Closed { assured });
                }
            }
            Event::Assure { key, connection } => self.world.assure((key, connection)),
            Event::Close { key, connection } => self.world.close((key, connection)),
            Event::Expire { key, connection } => self.world.expire((key, connection)),
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
        self.model.look(&self.world);
    }

    fn packet(&mut self, key: KeyId, connection: ConnectionId, thread: ThreadId, rules: Rules) {
        let name = (key, connection);
        // Conntrack makes a new connection of a first packet after the end, in place of the old one.
        self.world.forget_closed(name);
        self.model.look(&self.world);
        let progress = self.world.progress(name);
        let Some(answer) = self.decide(key, connection, thread, progress) else {
            return;
        };
        let refused = rules.drop || (rules.refuse && answer == Answer::Over);
        if progress == Progress::Unconfirmed && !refused {
            self.world.let_through(name);
        }
    }

    /// What the engine says, if it has memory to.
    fn decide(
        &mut self,
        key: KeyId,
        connection: ConnectionId,
        thread: ThreadId,
        progress: Progress,
    ) -> Option<Answer> {
        let name = (key, connection);
        let counts = self.model.counts(&self.world, name, thread, progress);
        let sighting = Sighting {
            connection,
            tag: key.into(),
            progress,
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
            assert!(
                matches!(progress, Progress::Unconfirmed | Progress::Confirmed),
                "a packet that needs no memory was dropped for lack of it"
            );
            // The engine had forgotten it, or never known.
            self.model.forget(name);
            return None;
        };
        // Whoever adds something sees to it that a sweep comes.
        assert!(decision.sweep.is_none() || !self.shard.is_empty());
        let limit = self.limit as usize;
        match decision.answer {
            Answer::Over => assert!(
                counts.most > limit,
                "over the limit of {limit} with {counts:?}"
            ),
            Answer::Under => assert!(
                counts.least <= limit,
                "under the limit of {limit} with {counts:?}"
            ),
        }
        self.model
            .note(&self.world, name, thread, progress, decision.answer);
        if decision.grace_period {
            self.world.ask_for_grace_period();
        }
        // Deferred work is at times as quick as it should be.
        if decision.sweep == Some(Due::Now) && connection % 2 == 0 {
            self.sweep_all();
        }
        Some(decision.answer)
    }

    fn sweep_all(&mut self) {
        self.since_sweep = 0;
        self.world.ask_for_grace_period();
        self.shard.begin_sweep();
        while !self.shard.sweep(64, &self.hash_key, &self.world) {}
    }

    /// Everything is over, and nothing happens any more but that the deferred work is done.
    fn end(&mut self) {
        self.world.end_all();
        for _ in 0..2 {
            self.sweep_all();
            for _ in 0..4 {
                self.world.step_of_rcu();
            }
        }
        self.sweep_all();
        assert!(self.shard.is_empty(), "something is remembered still");
    }
}
