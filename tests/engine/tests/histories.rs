// SPDX-License-Identifier: GPL-2.0

//! Random histories.

use engine::history::{run, ConnectionId, Event, History, KeyId, Rules, ThreadId, TOGETHER};
use proptest::prelude::*;

fn rules() -> impl Strategy<Value = Rules> {
    (prop::bool::weighted(0.8), prop::bool::weighted(0.2))
        .prop_map(|(refuse, drop)| Rules { refuse, drop })
}

fn event(keys: KeyId, connections: ConnectionId) -> impl Strategy<Value = Event> {
    let named = || (0..keys, 0..connections);
    let seen = move || (named(), 0..=TOGETHER, rules());
    prop_oneof![
        8 => seen().prop_map(|((key, connection), thread, rules)| Event::Packet {
            key, connection, thread, rules
        }),
        2 => seen().prop_map(|((key, connection), thread, rules)| Event::Loopback {
            key, connection, thread, rules
        }),
        1 => seen().prop_map(|((key, connection), thread, _)| Event::Older {
            key, connection, thread
        }),
        1 => seen().prop_map(|((key, connection), thread, _)| Event::Late {
            key, connection, thread
        }),
        2 => named().prop_map(|(key, connection)| Event::Assure { key, connection }),
        1 => named().prop_map(|(key, connection)| Event::Close { key, connection }),
        1 => named().prop_map(|(key, connection)| Event::Expire { key, connection }),
        3 => prop_oneof![Just(1), Just(1), Just(2), 3u32..1000]
            .prop_map(|jiffies| Event::Tick { jiffies }),
        1 => (1usize..100).prop_map(|count| Event::Sweep { count }),
        3 => Just(Event::Rcu),
        1 => Just(Event::RcuMeanwhile),
    ]
}

fn history(
    keys: KeyId,
    connections: ConnectionId,
    limit: u32,
    length: usize,
    allocations: impl Strategy<Value = Option<u32>>,
) -> impl Strategy<Value = History> {
    (
        0..=limit,
        // The clock wraps in some.
        prop_oneof![
            any::<u32>(),
            (0u32..2000).prop_map(|before| before.wrapping_neg())
        ],
        prop::bool::weighted(0.1),
        allocations,
        prop::collection::vec(event(keys, connections), 0..length),
    )
        .prop_map(|(limit, start, collide, allocations, events)| History {
            limit,
            start,
            collide,
            allocations,
            events,
        })
}

proptest! {
    // Regressions become tests of their own. `PROPTEST_CASES` asks for more or fewer.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Few connections of one key.
    #[test]
    fn one_key(history in history(1, 6, 4, 120, Just(None))) {
        run(&history);
    }

    /// Enough for an index, of a few keys.
    #[test]
    fn some_keys(history in history(4, 30, 25, 400, Just(None))) {
        run(&history);
    }

    /// Many keys.
    #[test]
    fn many_keys(history in history(200, 3, 2, 600, Just(None))) {
        run(&history);
    }

    /// Memory is refused from some point on.
    #[test]
    fn no_memory(history in history(40, 30, 25, 400, (0u32..60).prop_map(Some))) {
        run(&history);
    }
}

/// A packet tells that its connection, which was one too many, is assured: from then on it counts,
/// also in a jiffy in which all of its key were looked up before.
#[test]
fn assured_as_its_packet_tells() {
    let rules = Rules {
        refuse: false,
        drop: false,
    };
    let (key, thread) = (0, 0);
    let packet = |connection| Event::Loopback {
        key,
        connection,
        thread,
        rules,
    };
    let close = |connection| Event::Close { key, connection };
    let events = vec![
        packet(0),
        packet(1),
        packet(2),
        // One too many.
        packet(3),
        close(0),
        close(1),
        // It looks up what is left.
        Event::Sweep { count: 1 },
        Event::Sweep { count: 9 },
        Event::Assure { key, connection: 3 },
        packet(3),
        // As many as may be.
        packet(4),
        packet(5),
    ];
    run(&History {
        limit: 3,
        start: 1,
        collide: false,
        allocations: None,
        events,
    });
}

/// Of two grace periods, one that has begun and the next one, neither is over.
#[test]
fn held_up_for_two_grace_periods() {
    let rules = Rules {
        refuse: true,
        drop: false,
    };
    let packet = |connection: ConnectionId| Event::Packet {
        key: 0,
        connection,
        thread: connection as ThreadId,
        rules,
    };
    run(&History {
        limit: 1,
        start: 1,
        collide: false,
        allocations: None,
        events: vec![
            packet(0),
            Event::Rcu,
            Event::Tick { jiffies: 500 },
            packet(1),
            packet(2),
            Event::Rcu,
            packet(3),
        ],
    });
}

/// In the jiffy that is called 0, too, a key is looked up that never was before.
#[test]
fn ended_before_the_clock_wraps() {
    let (key, thread) = (0, 0);
    let rules = Rules {
        refuse: false,
        drop: false,
    };
    let packet = |connection| Event::Loopback {
        key,
        connection,
        thread,
        rules,
    };
    run(&History {
        limit: 2,
        start: u32::MAX,
        collide: false,
        allocations: None,
        events: vec![
            packet(0),
            packet(1),
            Event::Expire { key, connection: 1 },
            Event::Tick { jiffies: 1 },
            packet(2),
        ],
    });
}

/// A grace period ends right after a look-up that has not found the connection for which it waits.
#[test]
fn confirmed_after_it_was_looked_up() {
    let rules = Rules {
        refuse: true,
        drop: false,
    };
    let packet = |connection: ConnectionId| Event::Packet {
        key: 0,
        connection,
        thread: connection as ThreadId,
        rules,
    };
    run(&History {
        limit: 1,
        start: 1,
        collide: false,
        allocations: None,
        events: vec![
            packet(0),
            Event::Rcu,
            Event::RcuMeanwhile,
            packet(1),
            packet(2),
        ],
    });
}

/// What is received together goes through a hook together, before the first one goes any further.
#[test]
fn handled_together() {
    let rules = Rules {
        refuse: true,
        drop: false,
    };
    let packet = |connection| Event::Packet {
        key: 0,
        connection,
        thread: TOGETHER,
        rules,
    };
    run(&History {
        limit: 1,
        start: 1,
        collide: false,
        allocations: None,
        events: vec![packet(0), packet(1), packet(2)],
    });
}
