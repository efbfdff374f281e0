// SPDX-License-Identifier: GPL-2.0

//! Random histories.

use engine::history::{
    run, ConnectionId, Event, History, KeyId, Rules, Segment, ThreadId, TOGETHER,
};
use proptest::prelude::*;

fn rules() -> impl Strategy<Value = Rules> {
    (prop::bool::weighted(0.8), prop::bool::weighted(0.2))
        .prop_map(|(refuse, drop)| Rules { refuse, drop })
}

fn segment() -> impl Strategy<Value = Segment> {
    prop_oneof![
        6 => Just(Segment::Syn),
        2 => Just(Segment::Data),
        2 => Just(Segment::Ack),
        1 => Just(Segment::Reset),
    ]
}

fn event(keys: KeyId, connections: ConnectionId) -> impl Strategy<Value = Event> {
    let named = || (0..keys, 0..connections);
    let seen = move || (named(), 0..=TOGETHER, rules());
    prop_oneof![
        10 => (seen(), segment(), prop::bool::weighted(0.2)).prop_map(
            |(((key, connection), thread, rules), segment, raw)| Event::Packet {
                key, connection, thread, rules, segment, raw
            }
        ),
        2 => seen().prop_map(|((key, connection), thread, rules)| Event::Loopback {
            key, connection, thread, rules
        }),
        1 => seen().prop_map(|((key, connection), thread, _)| Event::Older {
            key, connection, thread
        }),
        1 => seen().prop_map(|((key, connection), thread, _)| Event::Aside {
            key, connection, thread
        }),
        2 => named().prop_map(|(key, connection)| Event::Assure { key, connection }),
        1 => named().prop_map(|(key, connection)| Event::Reset { key, connection }),
        1 => named().prop_map(|(key, connection)| Event::Close { key, connection }),
        1 => named().prop_map(|(key, connection)| Event::Revive { key, connection }),
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

const REFUSE: Rules = Rules {
    refuse: true,
    drop: false,
};
const ONLY_COUNT: Rules = Rules {
    refuse: false,
    drop: false,
};

/// A packet from outside.
fn sent(connection: ConnectionId, thread: ThreadId, rules: Rules, segment: Segment) -> Event {
    Event::Packet {
        key: 0,
        connection,
        thread,
        rules,
        segment,
        raw: false,
    }
}

/// A first packet, which the rule refuses over the limit.
fn packet(connection: ConnectionId, thread: ThreadId) -> Event {
    sent(connection, thread, REFUSE, Segment::Syn)
}

/// A later one.
fn later(connection: ConnectionId, segment: Segment) -> Event {
    sent(connection, 0, REFUSE, segment)
}

/// One that conntrack has confirmed, and that is let through in any case.
fn loopback(connection: ConnectionId) -> Event {
    Event::Loopback {
        key: 0,
        connection,
        thread: 0,
        rules: ONLY_COUNT,
    }
}

fn run_events(limit: u32, start: u32, events: Vec<Event>) {
    run(&History {
        limit,
        start,
        collide: false,
        allocations: None,
        events,
    });
}

/// A packet tells that its connection, which was one too many, is assured: from then on it counts,
/// also in a jiffy in which all of its key were looked up before.
#[test]
fn assured_as_its_packet_tells() {
    let close = |connection| Event::Close { key: 0, connection };
    let events = vec![
        loopback(0),
        loopback(1),
        loopback(2),
        // One too many.
        loopback(3),
        close(0),
        close(1),
        // It looks up what is left.
        Event::Sweep { count: 1 },
        Event::Sweep { count: 9 },
        Event::Assure {
            key: 0,
            connection: 3,
        },
        loopback(3),
        // As many as may be.
        loopback(4),
        loopback(5),
    ];
    run_events(3, 1, events);
}

/// Of two grace periods, one that has begun and the next one, neither is over.
#[test]
fn held_up_for_two_grace_periods() {
    let events = vec![
        packet(0, 0),
        Event::Rcu,
        Event::Tick { jiffies: 500 },
        packet(1, 1),
        packet(2, 2),
        Event::Rcu,
        packet(3, 3),
    ];
    run_events(1, 1, events);
}

/// In the jiffy that is called 0, too, a key is looked up that never was before.
#[test]
fn ended_before_the_clock_wraps() {
    let events = vec![
        loopback(0),
        loopback(1),
        Event::Expire {
            key: 0,
            connection: 1,
        },
        Event::Tick { jiffies: 1 },
        loopback(2),
    ];
    run_events(2, u32::MAX, events);
}

/// A grace period ends right after a look-up that has not found the connection for which it waits.
#[test]
fn confirmed_after_it_was_looked_up() {
    let events = vec![
        packet(0, 0),
        Event::Rcu,
        Event::RcuMeanwhile,
        packet(1, 1),
        packet(2, 2),
    ];
    run_events(1, 1, events);
}

/// What is received together goes through a hook together, before the first one goes any further.
#[test]
fn handled_together() {
    let events = (0..3).map(|connection| packet(connection, TOGETHER));
    run_events(1, 1, events.collect());
}

/// Both sides have closed a connection, and its client goes on: that counts for two seconds. The very
/// packet that closes it does not.
#[test]
fn goes_on_after_its_end() {
    let close = Event::Close {
        key: 0,
        connection: 0,
    };
    let ends = [loopback(0), close, later(0, Segment::Ack)];
    let another = [later(0, Segment::Ack), packet(1, 0)];
    let in_time = [Event::Tick { jiffies: 300 }, packet(2, 0)];
    let too_late = [Event::Tick { jiffies: 400 }, packet(3, 0)];
    run_events(1, 1, [ends.as_slice(), &[packet(1, 0)]].concat());
    run_events(1, 1, [ends.as_slice(), &another].concat());
    run_events(1, 1, [ends.as_slice(), &another, &in_time].concat());
    run_events(
        1,
        1,
        [ends.as_slice(), &another, &in_time, &too_late].concat(),
    );
}

/// So does one that was reset: a reset after each packet does not make room for others.
#[test]
fn reset_after_each_packet() {
    let reset = |connection| Event::Reset { key: 0, connection };
    let mut events = vec![loopback(0), reset(0), loopback(1), reset(1)];
    for connection in [0, 1, 0, 1] {
        events.extend([later(connection, Segment::Data), reset(connection)]);
    }
    events.push(packet(2, 0));
    run_events(1, 1, events);
}

/// One that was let through over a limit of 0 speaks for older ones, too.
#[test]
fn let_through_alone() {
    let older = Event::Older {
        key: 0,
        connection: 1,
        thread: 0,
    };
    let attempt = sent(0, 0, ONLY_COUNT, Segment::Syn);
    run_events(0, 1, vec![attempt, older, older]);
}

/// What was refused stays so for as long as conntrack has it: its last packets are told over, too.
#[test]
fn refused_until_it_is_gone() {
    let events = vec![
        loopback(0),
        loopback(1),
        Event::Close {
            key: 0,
            connection: 1,
        },
        Event::Sweep { count: 9 },
        Event::Sweep { count: 9 },
        later(1, Segment::Ack),
    ];
    run_events(1, 1, events);
}
