// SPDX-License-Identifier: GPL-2.0

//! Makes a history of a number.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use fastrand::Rng;

use super::history::{
    Action, Connection, ConnectionId, Event, History, Hook, Kind, Packet, Selector, Setting, Side,
    Step, LONG_WAIT, MOST_SHORT_WAITS, SHORT_WAIT,
};
use crate::conntrack::Tuple;
use crate::net::address::{self, PORT};
use crate::rules::{limit, Limit, Target};
use crate::variant::{Family, Path, Transport};

/// How many steps one jiffy has time for.
const AT_ONCE: usize = 8;

const SCENES: RangeInclusive<usize> = 12..=24;

/// Two of these are in one /24 and two in another; all are in one /64.
const CLIENTS: [u16; 4] = [1, 2, 0x101, 0x102];

impl History {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let setting = setting(&mut rng);
        let rule = rule(&mut rng, &setting);
        let clients = rng.usize(1..=CLIENTS.len());
        let mut author = Author {
            rng,
            setting,
            clients,
            connections: Vec::new(),
            stages: Vec::new(),
            steps: Vec::new(),
            events: BTreeSet::new(),
            at_once: false,
            run: 0,
            short_waits: 0,
        };
        let older = author.begin();
        for _ in 0..author.rng.usize(SCENES) {
            author.scene(rule.limit);
        }
        Self {
            seed,
            setting,
            rule,
            older,
            connections: author.connections,
            steps: author.steps,
            events: author.events,
        }
    }
}

fn setting(rng: &mut Rng) -> Setting {
    let hook = *choose(rng, &[Hook::Forward, Hook::Forward, Hook::Input, Hook::Raw]);
    Setting {
        family: *choose(rng, &Family::ALL),
        transport: *choose(rng, &[Transport::Tcp, Transport::Tcp, Transport::Udp]),
        hook,
        zones: hook != Hook::Input && rng.u8(..4) == 0,
        selector: *choose(
            rng,
            &[
                Selector::Syn,
                Selector::Clients,
                Selector::Clients,
                Selector::All,
            ],
        ),
    }
}

fn rule(rng: &mut Rng, setting: &Setting) -> Limit {
    let mut rule = limit(*choose(rng, &[0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5, 8]));
    rule.upto = rng.u8(..4) == 0;
    rule.daddr = rng.u8(..4) == 0;
    rule.mask = Some(*choose(
        rng,
        match setting.family {
            Family::Ipv4 => &[32, 32, 24, 0],
            Family::Ipv6 => &[128, 128, 64, 0],
        },
    ));
    rule.target = *choose(
        rng,
        match (setting.hook, setting.selector) {
            (Hook::Raw, _) => &[Target::None, Target::Drop],
            // On loopback the rule would see the reset, too.
            (Hook::Input, Selector::All) => &[Target::None, Target::Drop],
            _ => &[Target::None, Target::Drop, Target::Drop, Target::Reject],
        },
    );
    rule
}

fn choose<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.usize(..all.len())]
}

/// How far a connection is, unless it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its first packet was sent.
    Begun,
    Open,
    HalfClosed,
    Ended(End),
}

/// What has ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset(Side),
    /// Conntrack was told to forget it, or has.
    Forgotten,
}

const ENDED: [Stage; 4] = [
    Stage::Ended(End::Fin),
    Stage::Ended(End::Reset(Side::Client)),
    Stage::Ended(End::Reset(Side::Server)),
    Stage::Ended(End::Forgotten),
];

/// One that can still go on.
const UNENDED: [Stage; 3] = [Stage::Begun, Stage::Open, Stage::HalfClosed];

struct Author {
    rng: Rng,
    setting: Setting,
    /// How many of [`CLIENTS`] there are.
    clients: usize,
    connections: Vec<Connection>,
    stages: Vec<Stage>,
    steps: Vec<Step>,
    events: BTreeSet<Event>,
    /// The next step is to be in the same jiffy.
    at_once: bool,
    /// How many steps are in this jiffy already.
    run: usize,
    short_waits: usize,
}

impl Author {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    /// What happens before the rule is there. Returns how many steps that takes.
    fn begin(&mut self) -> usize {
        if self.one_in(6) {
            for _ in 0..self.rng.usize(1..=2) {
                self.open();
            }
            self.events.insert(Event::OlderThanRule);
        }
        self.at_once = false;
        self.run = AT_ONCE;
        self.steps.len()
    }

    fn scene(&mut self, limit: u32) {
        // It may follow at once, and all of it may come at once.
        let follows = self.one_in(4);
        let together = self.one_in(3);
        let before = self.steps.len();
        self.at_once = follows;
        match self.rng.u8(..46) {
            0..=7 => self.open(),
            8..=11 => self.half_open(),
            12..=16 => self.retransmit(),
            17..=20 => self.data(),
            21 => self.reply(),
            22..=24 => self.fin(),
            25 => self.half_close(),
            26..=27 => self.reset(Side::Client),
            28..=29 => self.reset(Side::Server),
            30..=31 => self.delete(),
            32..=33 => self.wait(),
            34..=36 => self.flood(limit),
            37..=39 => self.late_packet(),
            40 => self.late_reset(),
            41..=43 => self.begin_again(),
            44 => self.stray_packet(),
            _ => self.other_zone(),
        }
        if together {
            self.put_together(before);
        }
    }

    fn put_together(&mut self, from: usize) {
        let steps = self.steps.len() - from;
        if steps > 1 && self.run + steps <= AT_ONCE {
            for step in &mut self.steps[from + 1..] {
                step.at_once = !matches!(step.action, Action::Wait { .. });
            }
            self.run += steps;
        }
    }

    fn push(&mut self, action: Action) {
        let at_once = self.at_once && self.run < AT_ONCE && !self.steps.is_empty();
        self.run = if at_once { self.run + 1 } else { 1 };
        self.at_once = false;
        self.steps.push(Step { action, at_once });
    }

    fn send(&mut self, connection: ConnectionId, from: Side, kind: Kind) {
        // Only what begins a connection is sent where there is none.
        let stray = matches!(kind, Kind::Syn) || (kind == Kind::Datagram && from == Side::Client);
        self.push(Action::Send(Packet {
            connection,
            from,
            kind,
            stray,
        }));
    }

    fn is_tcp(&self) -> bool {
        self.setting.transport == Transport::Tcp
    }

    fn first_packet(&self) -> Kind {
        if self.is_tcp() {
            Kind::Syn
        } else {
            Kind::Datagram
        }
    }

    /// Of a client, with data or without.
    fn later_packet(&mut self) -> Kind {
        if !self.is_tcp() {
            Kind::Datagram
        } else if self.one_in(2) {
            Kind::Data
        } else {
            Kind::Ack
        }
    }

    fn later_answer(&self) -> Kind {
        if self.is_tcp() {
            Kind::Ack
        } else {
            Kind::Datagram
        }
    }

    fn client(&mut self) -> u16 {
        // The first one has most of them.
        if self.one_in(3) {
            CLIENTS[self.rng.usize(..self.clients)]
        } else {
            CLIENTS[0]
        }
    }

    /// A connection that nothing has been sent of.
    fn connection_of(&mut self, client: u16) -> ConnectionId {
        const FIRST_PORT: u16 = 10_000;
        let (family, path) = (
            self.setting.family,
            match self.setting.hook {
                Hook::Input => Path::Loopback,
                Hook::Forward | Hook::Raw => Path::Wire,
            },
        );
        let number = self.connections.len();
        let mut server = address::server(family, path);
        if self.one_in(4) {
            // Another one beside it.
            server = address::flip_bit(server, address::width(family) - 2);
        }
        let port = FIRST_PORT + u16::try_from(number).expect("a history is short");
        let zone = if self.setting.zones {
            self.rng.u16(1..=2)
        } else {
            0
        };
        self.connections.push(Connection {
            tuple: Tuple {
                transport: self.setting.transport,
                source: SocketAddr::new(address::client(family, path, client), port),
                destination: SocketAddr::new(server, PORT),
            },
            zone,
        });
        self.stages.push(Stage::Begun);
        number
    }

    fn new_connection(&mut self) -> ConnectionId {
        let client = self.client();
        self.connection_of(client)
    }

    /// One of those at these stages.
    fn at(&mut self, stages: &[Stage]) -> Option<ConnectionId> {
        let all: Vec<ConnectionId> = (0..self.stages.len())
            .filter(|&connection| stages.contains(&self.stages[connection]))
            .collect();
        if all.is_empty() {
            None
        } else {
            Some(*choose(&mut self.rng, &all))
        }
    }

    fn open(&mut self) {
        let connection = self.new_connection();
        self.send(connection, Side::Client, self.first_packet());
        self.answer(connection);
        self.events.insert(Event::Open);
    }

    fn answer(&mut self, connection: ConnectionId) {
        if self.is_tcp() {
            self.send(connection, Side::Server, Kind::SynAck);
            self.send(connection, Side::Client, Kind::Ack);
        } else {
            self.send(connection, Side::Server, Kind::Datagram);
            if !self.one_in(4) {
                self.push(Action::Assure(connection));
            }
        }
        self.stages[connection] = Stage::Open;
    }

    fn half_open(&mut self) {
        let connection = self.new_connection();
        self.send(connection, Side::Client, self.first_packet());
        if self.is_tcp() && self.one_in(3) {
            self.send(connection, Side::Server, Kind::SynAck);
        }
        self.events.insert(Event::HalfOpen);
    }

    fn retransmit(&mut self) {
        // One that was refused tries again, even if this has gone on as if it had not been.
        let stages = if self.one_in(3) {
            [Stage::Begun, Stage::Open]
        } else {
            [Stage::Begun; 2]
        };
        if let Some(connection) = self.at(&stages) {
            self.send(connection, Side::Client, self.first_packet());
            self.events.insert(Event::Retransmission);
            if self.stages[connection] == Stage::Begun && self.one_in(3) {
                self.answer(connection);
            }
        }
    }

    fn data(&mut self) {
        if let Some(connection) = self.at(&[Stage::Open, Stage::HalfClosed]) {
            let kind = self.later_packet();
            self.send(connection, Side::Client, kind);
            self.events.insert(Event::Data);
        }
    }

    fn reply(&mut self) {
        if let Some(connection) = self.at(&[Stage::Open, Stage::HalfClosed]) {
            self.send(connection, Side::Server, self.later_answer());
            self.events.insert(Event::Reply);
        }
    }

    fn fin(&mut self) {
        if !self.is_tcp() {
            return self.delete();
        }
        if let Some(connection) = self.at(&[Stage::Open]) {
            let (first, second) = if self.one_in(2) {
                (Side::Client, Side::Server)
            } else {
                (Side::Server, Side::Client)
            };
            self.send(connection, first, Kind::Fin);
            self.send(connection, second, Kind::Ack);
            self.send(connection, second, Kind::Fin);
            self.send(connection, first, Kind::Ack);
            self.stages[connection] = Stage::Ended(End::Fin);
            self.events.insert(Event::Fin);
            self.go_on(connection);
        }
    }

    fn half_close(&mut self) {
        if !self.is_tcp() {
            return;
        }
        if let Some(connection) = self.at(&[Stage::Open]) {
            self.send(connection, Side::Client, Kind::Fin);
            self.send(connection, Side::Server, Kind::Ack);
            self.stages[connection] = Stage::HalfClosed;
            self.events.insert(Event::HalfClose);
        }
    }

    fn reset(&mut self, by: Side) {
        if !self.is_tcp() {
            return self.delete();
        }
        if let Some(connection) = self.at(&UNENDED) {
            self.send(connection, by, Kind::Rst);
            self.stages[connection] = Stage::Ended(End::Reset(by));
            self.events.insert(match by {
                Side::Client => Event::ResetByClient,
                Side::Server => Event::ResetByServer,
            });
            self.go_on(connection);
        }
    }

    fn delete(&mut self) {
        if self.one_in(5) {
            self.push(Action::Flush);
            self.stages.fill(Stage::Ended(End::Forgotten));
        } else if let Some(connection) = self.at(&UNENDED) {
            self.push(Action::Delete(connection));
            self.stages[connection] = Stage::Ended(End::Forgotten);
        } else {
            return;
        }
        self.events.insert(Event::Deletion);
    }

    fn wait(&mut self) {
        let seconds = if self.short_waits == MOST_SHORT_WAITS || self.one_in(4) {
            self.short_waits = 0;
            self.stages.fill(Stage::Ended(End::Forgotten));
            LONG_WAIT
        } else {
            self.short_waits += 1;
            SHORT_WAIT
        };
        self.at_once = false;
        self.push(Action::Wait { seconds });
        self.run = AT_ONCE;
        self.events.insert(Event::TimeOut);
    }

    /// First packets of more connections than one client may have, or of many clients.
    fn flood(&mut self, limit: u32) {
        let most = (limit as usize + 2).min(AT_ONCE);
        let one = self.one_in(2).then(|| self.client());
        self.run = AT_ONCE;
        for _ in 0..self.rng.usize(2..=most.max(2)) {
            let client = one.unwrap_or_else(|| *choose(&mut self.rng, &CLIENTS));
            let connection = self.connection_of(client);
            self.send(connection, Side::Client, self.first_packet());
            self.at_once = true;
        }
        self.events.insert(match one {
            Some(_) => Event::FloodOfOne,
            None => Event::FloodOfMany,
        });
    }

    /// At times, one of its two sides does not know of the end.
    fn go_on(&mut self, connection: ConnectionId) {
        match self.rng.u8(..8) {
            0..=2 => self.late_packet_of(connection),
            3 => self.late_reset_of(connection),
            4..=5 => self.begin_again_with(connection),
            _ => (),
        }
    }

    fn late_packet(&mut self) {
        if let Some(connection) = self.at(&ENDED) {
            self.late_packet_of(connection);
        }
    }

    fn late_packet_of(&mut self, connection: ConnectionId) {
        if self.one_in(4) {
            self.send(connection, Side::Server, self.later_answer());
            self.events.insert(Event::LateAnswer);
        } else {
            let kind = self.later_packet();
            self.send(connection, Side::Client, kind);
            self.events.insert(Event::LatePacket);
        }
    }

    fn late_reset(&mut self) {
        if let Some(connection) = self.at(&ENDED) {
            self.late_reset_of(connection);
        }
    }

    fn late_reset_of(&mut self, connection: ConnectionId) {
        if self.is_tcp() {
            let by = *choose(&mut self.rng, &[Side::Client, Side::Server]);
            self.send(connection, by, Kind::Rst);
            self.stages[connection] = Stage::Ended(End::Reset(by));
            self.events.insert(Event::LateReset);
        }
    }

    fn begin_again(&mut self) {
        if let Some(connection) = self.at(&ENDED) {
            self.begin_again_with(connection);
        }
    }

    /// The same tuple once more.
    fn begin_again_with(&mut self, connection: ConnectionId) {
        if let Stage::Ended(end) = self.stages[connection] {
            self.events.insert(match end {
                End::Fin => Event::AgainAfterFin,
                End::Reset(Side::Client) => Event::AgainAfterResetByClient,
                End::Reset(Side::Server) => Event::AgainAfterResetByServer,
                End::Forgotten => Event::AgainAfterAll,
            });
        }
        self.send(connection, Side::Client, self.first_packet());
        self.stages[connection] = Stage::Begun;
        if !self.one_in(3) {
            self.answer(connection);
        }
    }

    /// A later packet of a connection that conntrack may not know.
    fn stray_packet(&mut self) {
        let connection = if self.one_in(2) {
            self.new_connection()
        } else {
            match self.at(&[&UNENDED[..], &ENDED].concat()) {
                Some(connection) => connection,
                None => return,
            }
        };
        let kind = self.later_packet();
        self.push(Action::Send(Packet {
            connection,
            from: Side::Client,
            kind,
            stray: true,
        }));
        self.events.insert(Event::StrayPacket);
        if self.one_in(2) {
            // Both sides know of it.
            for _ in 0..2 {
                self.send(connection, Side::Server, self.later_answer());
                let kind = self.later_packet();
                self.send(connection, Side::Client, kind);
            }
            self.stages[connection] = Stage::Open;
            self.events.insert(Event::PickedUp);
        }
    }

    /// The tuple of a connection, in the other zone.
    fn other_zone(&mut self) {
        if !self.setting.zones || self.connections.is_empty() {
            return self.open();
        }
        let Connection { tuple, zone } = *choose(&mut self.rng, &self.connections);
        let zone = 3 - zone;
        let same = |other: &Connection| other.tuple == tuple && other.zone == zone;
        if self.connections.iter().any(same) {
            return self.open();
        }
        let connection = self.connections.len();
        self.connections.push(Connection { tuple, zone });
        self.stages.push(Stage::Begun);
        self.send(connection, Side::Client, self.first_packet());
        if self.one_in(2) {
            self.answer(connection);
        }
        self.events.insert(Event::OtherZone);
    }
}
