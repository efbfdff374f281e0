// SPDX-License-Identifier: GPL-2.0

//! What it costs: memory and look-ups, with keys and connections of the size of IPv4's.

use std::cell::Cell;
use std::collections::HashSet;

use kernel::memory;

use crate::counting::{
    Answer, Connection, Environment, Fate, Key, Moment, PacketKind, Shard, Sighting,
};
use crate::hash::HashKey;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Ends([u32; 2], [u16; 2]);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Network(u32, u16);

impl Key for Network {
    fn hash(&self, key: &HashKey) -> u32 {
        key.hash([self.0.into(), self.1.into()])
    }
}

impl Connection for Ends {
    fn hash(&self, tag: u16, key: &HashKey) -> u32 {
        let [a, b] = self.1.map(u64::from);
        key.hash([
            self.0[0].into(),
            self.0[1].into(),
            a | (b << 16) | (u64::from(tag) << 32),
        ])
    }
}

/// A conntrack that has all connections but those that have ended.
#[derive(Default)]
struct Tracked {
    now: u32,
    ended: HashSet<Ends>,
    all_ended: bool,
    looked_up: Cell<usize>,
}

impl Environment<Network, Ends> for Tracked {
    const HZ: u32 = 250;

    fn fate(&self, _key: &Network, connection: &Ends, _tag: u16) -> Fate {
        self.looked_up.set(self.looked_up.get() + 1);
        if self.all_ended || self.ended.contains(connection) {
            Fate::Gone
        } else {
            Fate::Live
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            thread: Some(0),
        }
    }

    /// Each jiffy one ends.
    fn grace_period(&self) -> usize {
        self.now as usize + 1
    }

    fn is_over(&self, state: usize) -> bool {
        state <= self.now as usize
    }
}

/// A packet of a connection that conntrack has confirmed.
const CONFIRMED: PacketKind = PacketKind::Live {
    assured: false,
    syn: true,
};

struct Bench {
    shard: Shard<Network, Ends>,
    hash_key: HashKey,
    tracked: Tracked,
    limit: u32,
}

fn connection(number: u32) -> Ends {
    Ends([number, 2], [number as u16, 80])
}

impl Bench {
    fn new(limit: u32) -> Self {
        Self {
            shard: Shard::new(),
            hash_key: HashKey::random(),
            tracked: Tracked {
                now: 100,
                ..Tracked::default()
            },
            limit,
        }
    }

    /// A first packet. Returns the answer, and how many connections were looked up.
    fn open(&mut self, key: u32, connection: Ends) -> (Answer, usize) {
        self.tracked.looked_up.set(0);
        let (answer, _) = self.decide(key, connection, PacketKind::New);
        (answer, self.tracked.looked_up.get())
    }

    /// Returns the answer, and whether a grace period is to be asked for.
    fn decide(&mut self, key: u32, connection: Ends, kind: PacketKind) -> (Answer, bool) {
        let key = Network(key, 0);
        let sighting = Sighting {
            connection,
            tag: 6,
            kind,
        };
        let decision = self
            .shard
            .decide(
                &key,
                key.hash(&self.hash_key),
                &sighting,
                self.limit,
                &self.hash_key,
                &self.tracked,
            )
            .expect("memory");
        (decision.answer, decision.grace_period)
    }

    fn sweep(&mut self) {
        self.shard.begin_sweep();
        while !self.shard.sweep(64, &self.hash_key, &self.tracked) {}
    }
}

#[test]
fn a_connection_in_a_key_of_a_thousand_takes_24_bytes() {
    let before = memory::in_use();
    let mut bench = Bench::new(5000);
    for number in 0..1000 {
        bench.open(1, connection(number));
    }
    let each = (memory::in_use() - before) as f64 / 1000.0;
    assert!(each <= 24.0, "{each} bytes");
}

#[test]
fn a_key_with_one_connection_takes_128_bytes() {
    let before = memory::in_use();
    let mut bench = Bench::new(5000);
    for number in 0..10_000 {
        bench.open(number, connection(number));
    }
    let each = (memory::in_use() - before) as f64 / 10_000.0;
    assert!(each <= 128.0, "{each} bytes");
}

#[test]
fn all_memory_is_given_back_without_traffic() {
    let before = memory::in_use();
    let mut bench = Bench::new(100_000);
    for number in 0..20_000 {
        bench.open(number % 7, connection(number));
        bench.open(10 + number, connection(number));
    }
    bench.tracked.all_ended = true;
    bench.tracked.now += 3;
    bench.sweep();
    // A few are only presumed lost.
    bench.tracked.now += 6 * 250;
    bench.sweep();
    assert!(bench.shard.is_empty());
    assert_eq!(memory::in_use(), before);
}

#[test]
fn under_the_limit_few_are_looked_up() {
    let mut bench = Bench::new(1_000_000);
    for number in 0..100_000 {
        let (answer, looked_up) = bench.open(1, connection(number));
        assert_eq!(answer, Answer::Under);
        assert!(looked_up <= 2, "{looked_up} look-ups at {number}");
    }
}

#[test]
fn connections_that_are_gone_do_not_pile_up() {
    let before = memory::in_use();
    let mut bench = Bench::new(1_000_000);
    bench.tracked.all_ended = true;
    for number in 0..1_000_000 {
        bench.open(number % 1000, connection(number));
        bench.tracked.now += u32::from(number % 50 == 0);
    }
    let kept = memory::in_use() - before;
    assert!(kept < 50_000, "{kept} bytes");
}

#[test]
fn a_flood_of_refused_attempts_leaves_nothing() {
    let mut bench = Bench::new(25);
    for number in 0..25 {
        bench.open(1, connection(number));
    }
    bench.tracked.now += 1;
    let before = memory::in_use();
    for number in 25..100_025 {
        bench.tracked.ended.insert(connection(number));
        let (answer, looked_up) = bench.open(1, connection(number));
        assert_eq!(answer, Answer::Over);
        assert!(looked_up <= 26, "{looked_up} look-ups");
    }
    let kept = memory::in_use() - before;
    assert!(kept < 2000, "{kept} bytes");
}

/// At the limit, with all connections alive, a jiffy has a budget of look-ups.
#[test]
fn verification_of_a_large_key_is_spread_over_time() {
    const JIFFIES: u32 = 300;
    let mut bench = Bench::new(10_000);
    for number in 0..10_000 {
        bench.open(1, connection(number));
    }
    let (mut most, mut all) = (0, 0);
    for number in 0..JIFFIES {
        bench.tracked.now += 1;
        for more in 0..5 {
            let attempt = connection(1_000_000 + number * 5 + more);
            bench.tracked.ended.insert(attempt);
            let (answer, looked_up) = bench.open(1, attempt);
            assert_eq!(answer, Answer::Over);
            most = most.max(looked_up);
            all += looked_up;
        }
    }
    assert!(most <= 1024 + 201 + 2, "{most} look-ups for one packet");
    // 201 in a jiffy, once for each when it is found confirmed, and the attempts themselves.
    let budget = JIFFIES as usize * 201 + 10_000 + JIFFIES as usize * 10;
    assert!(all <= budget, "{all} look-ups");

    // One that ends makes room for another within the time that a pass takes.
    bench.tracked.ended.insert(connection(5000));
    let admitted = (0..52).any(|number| {
        bench.tracked.now += 1;
        let attempt = connection(2_000_000 + number);
        let (answer, _) = bench.open(1, attempt);
        if answer == Answer::Over {
            bench.tracked.ended.insert(attempt);
        }
        answer == Answer::Under
    });
    assert!(admitted, "the end of a connection was not noticed");
}

/// RCU is asked only where what becomes of a connection may decide for the next one.
#[test]
fn a_grace_period_is_asked_for_at_the_limit() {
    for last in [PacketKind::New, CONFIRMED] {
        let mut bench = Bench::new(3);
        let mut is_asked_for = |number, kind| bench.decide(1, connection(number), kind).1;
        assert!(!is_asked_for(1, PacketKind::New));
        assert!(!is_asked_for(2, PacketKind::New));
        // That it is confirmed tells nothing of the other two.
        assert!(is_asked_for(3, last));
        // It is refused, and does not count.
        assert!(!is_asked_for(4, PacketKind::New));
    }
}

/// No decision depends on connections that conntrack had when they were refused.
#[test]
fn refused_connections_are_not_looked_up() {
    let mut bench = Bench::new(2);
    for number in 0..1000 {
        bench.decide(1, connection(number), CONFIRMED);
    }
    bench.tracked.now += 1;
    let (answer, looked_up) = bench.open(1, connection(1000));
    assert_eq!(answer, Answer::Over);
    assert_eq!(looked_up, 2);
}

/// One that was told under and forgotten for lack of room may arrive: it is no older than the rule, nor
/// was it let through over the limit.
#[test]
fn forgotten_for_lack_of_room() {
    const ROOM: u32 = 32;
    const LATER: PacketKind = PacketKind::Live {
        assured: true,
        syn: false,
    };
    let mut bench = Bench::new(1);
    // A queue holds the first packet of each.
    for number in 0..=ROOM + 1 {
        bench.tracked.ended.insert(connection(number));
        bench.tracked.now += 2;
        let (answer, _) = bench.open(1, connection(number));
        assert_eq!(answer, Answer::Under);
    }
    // Of the last but one nothing is known any more.
    let forgotten = connection(ROOM);
    bench.tracked.ended.remove(&connection(ROOM + 1));
    let (answer, _) = bench.open(1, forgotten);
    assert_eq!(answer, Answer::Over);
    bench.tracked.ended.clear();
    let (answer, _) = bench.decide(1, forgotten, LATER);
    assert_eq!(answer, Answer::Over);
    let (answer, _) = bench.decide(1, connection(ROOM + 1), LATER);
    assert_eq!(answer, Answer::Under, "the one that was let in");
}
