// SPDX-License-Identifier: GPL-2.0

//! What happens in the course of a history.

use std::collections::BTreeSet;
use std::fmt;

use crate::conntrack::Tuple;
use crate::net::address;
use crate::rules::{Limit, Target};
use crate::variant::{Family, Transport};

/// Where the rule is, which decides how far connections are when it sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// FORWARD: new connections are not confirmed yet.
    Forward,
    /// INPUT, on loopback: they are.
    Input,
    /// PREROUTING of the table raw: packets carry no connection, or a template for one.
    Raw,
}

/// Which packets the rule sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Those that open a TCP connection.
    Syn,
    /// Those of clients.
    Clients,
    /// Those of servers, too.
    All,
}

#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub family: Family,
    pub transport: Transport,
    pub hook: Hook,
    /// There are two zones, where there is one otherwise.
    pub zones: bool,
    pub selector: Selector,
}

/// The number of a connection within its history.
pub type ConnectionId = usize;

/// A connection, or one after another that have the same tuple.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub tuple: Tuple,
    pub zone: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Syn,
    SynAck,
    Ack,
    /// As [`Kind::Ack`], with data.
    Data,
    Fin,
    Rst,
    Datagram,
}

#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub connection: ConnectionId,
    pub from: Side,
    pub kind: Kind,
    /// It is sent even if conntrack does not know the connection. Nobody answers a client that was
    /// refused, and such a client sends no more than its first packet.
    pub stray: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Action {
    Send(Packet),
    /// Conntrack is told that the connection is assured, as it would find out for itself after two
    /// seconds of UDP.
    Assure(ConnectionId),
    /// As `conntrack -D`.
    Delete(ConnectionId),
    /// As `conntrack -F`.
    Flush,
    /// Longer than some of [`TIMEOUTS`].
    Wait {
        seconds: u32,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub action: Action,
    /// In the same jiffy as the step before; otherwise in a later one.
    pub at_once: bool,
}

/// How long conntrack keeps what. Connections that are not answered, or over, end in a short wait;
/// others do after [`MOST_SHORT_WAITS`] and more only in a long one.
pub const TIMEOUTS: [(&str, u32); 12] = [
    ("tcp_timeout_syn_sent", 2),
    ("tcp_timeout_syn_recv", 2),
    ("tcp_timeout_close", 2),
    ("tcp_timeout_established", 20),
    ("tcp_timeout_fin_wait", 20),
    ("tcp_timeout_close_wait", 20),
    ("tcp_timeout_last_ack", 20),
    ("tcp_timeout_time_wait", 20),
    ("tcp_timeout_unacknowledged", 20),
    ("tcp_timeout_max_retrans", 20),
    ("udp_timeout", 2),
    ("udp_timeout_stream", 20),
];
pub const SHORT_WAIT: u32 = 4;
pub const MOST_SHORT_WAITS: usize = 3;
pub const LONG_WAIT: u32 = 30;

/// What a history is to have in it, at times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Open,
    HalfOpen,
    OlderThanRule,
    Retransmission,
    Data,
    Reply,
    Fin,
    HalfClose,
    ResetByClient,
    ResetByServer,
    Deletion,
    TimeOut,
    OtherZone,
    FloodOfOne,
    FloodOfMany,
    LatePacket,
    LateAnswer,
    LateReset,
    AgainAfterFin,
    AgainAfterResetByClient,
    AgainAfterResetByServer,
    AgainAfterAll,
    StrayPacket,
    PickedUp,
}

impl Event {
    pub const ALL: [Event; 24] = [
        Event::Open,
        Event::HalfOpen,
        Event::OlderThanRule,
        Event::Retransmission,
        Event::Data,
        Event::Reply,
        Event::Fin,
        Event::HalfClose,
        Event::ResetByClient,
        Event::ResetByServer,
        Event::Deletion,
        Event::TimeOut,
        Event::OtherZone,
        Event::FloodOfOne,
        Event::FloodOfMany,
        Event::LatePacket,
        Event::LateAnswer,
        Event::LateReset,
        Event::AgainAfterFin,
        Event::AgainAfterResetByClient,
        Event::AgainAfterResetByServer,
        Event::AgainAfterAll,
        Event::StrayPacket,
        Event::PickedUp,
    ];
}

#[derive(Clone, Debug)]
pub struct History {
    pub seed: u64,
    pub setting: Setting,
    pub rule: Limit,
    /// How many steps come before the rule.
    pub older: usize,
    pub connections: Vec<Connection>,
    pub steps: Vec<Step>,
    pub events: BTreeSet<Event>,
}

/// What connections are counted by.
pub type Key = (u128, u16);

impl History {
    /// Whether the rule sees this packet.
    pub fn sees(&self, packet: &Packet) -> bool {
        match (self.setting.selector, self.setting.transport) {
            (Selector::All, _) => true,
            (Selector::Clients, _) | (Selector::Syn, Transport::Udp) => packet.from == Side::Client,
            (Selector::Syn, Transport::Tcp) => packet.kind == Kind::Syn,
        }
    }

    pub fn key(&self, packet: &Packet) -> Key {
        let Connection { tuple, zone } = self.connections[packet.connection];
        // A packet of the server goes the other way.
        let of_client = self.rule.daddr == (packet.from == Side::Server);
        let end = if of_client {
            tuple.source
        } else {
            tuple.destination
        };
        let width = address::width(self.setting.family);
        (
            address::masked(end.ip(), self.rule.mask.unwrap_or(width)),
            zone,
        )
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting {
            family,
            transport,
            hook,
            zones,
            selector,
        } = self.setting;
        let target = match self.rule.target {
            Target::None => "counted only",
            Target::Drop => "DROP",
            Target::Reject => "REJECT",
        };
        write!(
            f,
            "history {}: {family} {transport}, {hook:?}{}, packets: {selector:?}, {}, {target}",
            self.seed,
            if zones { " with zones" } else { "" },
            self.rule.matches(),
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.at_once { "at once" } else { "then" };
        write!(f, "{when:7} ")?;
        match self.action {
            Action::Send(Packet {
                connection,
                from,
                kind,
                stray,
            }) => {
                let stray = if stray { " (stray)" } else { "" };
                write!(f, "{from:?} of {connection}: {kind:?}{stray}")
            }
            Action::Assure(connection) => write!(f, "{connection} is assured"),
            Action::Delete(connection) => write!(f, "{connection} is deleted"),
            Action::Flush => write!(f, "all are deleted"),
            Action::Wait { seconds } => write!(f, "{seconds} s"),
        }
    }
}
