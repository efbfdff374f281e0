// SPDX-License-Identifier: GPL-2.0

//! An entry of conntrack in the course of a history: `nf_conntrack_proto_tcp.c`, as far as ctnetlink does
//! not tell it.

use super::history::{Kind, Packet, Side};
use super::record::Tracked;

/// What looking a connection up shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Gone,
    Ended,
    Live,
}

/// What a packet shows of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketKind {
    New,
    Live { assured: bool, syn: bool },
    Reopening { live: bool },
    Late { bare: bool },
    Aside,
}

impl PacketKind {
    pub const ALL: [Self; 10] = [
        Self::New,
        Self::live(false, false),
        Self::live(false, true),
        Self::live(true, false),
        Self::live(true, true),
        Self::Reopening { live: false },
        Self::Reopening { live: true },
        Self::Late { bare: false },
        Self::Late { bare: true },
        Self::Aside,
    ];

    const fn live(assured: bool, syn: bool) -> Self {
        Self::Live { assured, syn }
    }
}

/// What conntrack has of a connection, and what it has seen of it.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub tracked: Option<Tracked>,
    /// The last packet that conntrack has taken, as ctnetlink does not tell it.
    last: Option<(Side, Kind)>,
    /// Whether it has taken later ones cannot be told.
    unsure: bool,
    /// The last one is a SYN that conntrack has let pass and noted: what answers it revives the connection.
    revivable: bool,
    /// A side has closed it, so that a SYN begins another one when it is over.
    finished: bool,
    /// Conntrack has taken a packet of the server, or begun in its midst. Before that, it takes none
    /// that acknowledges something.
    answered: bool,
    /// Conntrack has begun with a packet in its midst.
    picked_up: bool,
    /// Conntrack has not seen all of its packets.
    pub missed: bool,
    /// It was closed once. In-tree forgets it then.
    pub was_closed: bool,
    /// The jiffy in which it became live or ceased to be.
    pub changed: Option<usize>,
}

impl Entry {
    pub fn is_closed(&self) -> bool {
        self.tracked.as_ref().is_some_and(Tracked::is_closed)
    }

    fn state(&self) -> &str {
        self.tracked
            .as_ref()
            .map_or("", |tracked| tracked.state.as_str())
    }

    pub fn fates(&self) -> Vec<Fate> {
        let Some(tracked) = &self.tracked else {
            return vec![Fate::Gone];
        };
        match (tracked.state.as_str(), self.last) {
            ("TIME_WAIT", _) => vec![Fate::Ended],
            ("CLOSE", _) if self.unsure => vec![Fate::Ended, Fate::Live],
            ("CLOSE", Some((_, Kind::Rst))) => vec![Fate::Ended],
            _ => vec![Fate::Live],
        }
    }

    /// Whether a SYN has conntrack begin another connection, where this is not to be seen.
    fn gives_way(&self) -> bool {
        self.finished || self.last == Some((Side::Client, Kind::Rst))
    }

    /// Whether a packet has begun a connection, which conntrack has as `after` if it has let it.
    pub fn is_begun_by(&self, packet: &Packet, after: Option<&Tracked>) -> bool {
        match &self.tracked {
            None => true,
            Some(before) => {
                packet.kind == Kind::Syn
                    && before.is_closed()
                    && (after != Some(before) || self.gives_way())
            }
        }
    }

    /// Whether conntrack calls a packet invalid.
    pub fn is_invalid(&self, packet: &Packet) -> bool {
        let is_early = match packet.from {
            Side::Client => acknowledges(packet),
            Side::Server => packet.kind == Kind::Fin && self.state() == "SYN_SENT",
        };
        self.tracked.is_some() && !self.answered && is_early
    }

    /// The same, as its sequence numbers are not those that conntrack expects.
    fn may_be_invalid(&self, packet: &Packet) -> bool {
        self.missed && acknowledges(packet)
    }

    /// Conntrack has seen a packet, and has the connection in `after` then.
    pub fn take(&mut self, packet: &Packet, after: Option<&Tracked>) {
        let is_begun = self.is_begun_by(packet, after);
        if is_begun {
            *self = Self {
                was_closed: self.was_closed,
                changed: self.changed,
                answered: packet.kind != Kind::Syn,
                picked_up: packet.kind != Kind::Syn,
                ..Self::default()
            };
        }
        let state = after.map_or("", |after| after.state.as_str());
        let is_noted = packet.kind == Kind::Syn && !is_begun && self.state() != "SYN_SENT";
        let last = Some((packet.from, packet.kind));
        match packet.kind {
            // It may have been invalid, or it is a matter of its sequence number.
            Kind::Rst if state != "CLOSE" => (),
            _ if self.is_invalid(packet) => self.missed |= packet.kind != Kind::Ack,
            _ if self.may_be_invalid(packet) && self.last.is_some_and(is_reset) => {
                self.unsure = true;
            }
            _ => {
                self.last = last;
                self.unsure = false;
                self.revivable = is_noted;
            }
        }
        self.answered |= self.is_closed() && packet.from == Side::Server && acknowledges(packet);
        match state {
            "FIN_WAIT" | "CLOSE_WAIT" | "LAST_ACK" | "TIME_WAIT" => self.finished = true,
            "SYN_SENT" => self.finished = false,
            "SYN_RECV" => {
                self.finished = false;
                self.answered = true;
                self.picked_up = false;
            }
            _ => (),
        }
        self.tracked = after.cloned();
        self.was_closed |= self.is_closed();
    }

    /// The same, and REJECT has answered the packet. Where conntrack calls that invalid, it looks at the
    /// reset, too, as at one of the server.
    pub fn take_and_reset(&mut self, packet: &Packet, after: Option<&Tracked>) {
        let (is_invalid, may_be_invalid) = (self.is_invalid(packet), self.may_be_invalid(packet));
        self.take(packet, after);
        if is_invalid {
            self.last = Some((Side::Server, Kind::Rst));
        } else if may_be_invalid {
            self.unsure = true;
        }
    }

    /// What conntrack had made of a packet before REJECT has closed the connection, or has sent a reset
    /// that conntrack takes for one of the server. What it has `after` tells the rest.
    pub fn before_reject(&self, packet: &Packet, after: Option<&Tracked>) -> Option<Tracked> {
        let is_challenge =
            packet.from == Side::Server && self.last == Some((Side::Client, Kind::Syn));
        let state = match self.state() {
            _ if self.is_begun_by(packet, after) => "SYN_SENT",
            "CLOSE" if packet.kind == Kind::SynAck && self.revivable => "SYN_RECV",
            "LAST_ACK" if matches!(packet.kind, Kind::Ack | Kind::Data) && !is_challenge => {
                "TIME_WAIT"
            }
            state => state,
        };
        Some(Tracked {
            state: state.to_owned(),
            ..after.or(self.tracked.as_ref())?.clone()
        })
    }

    /// What a packet shows.
    pub fn kinds(&self, packet: &Packet) -> Vec<PacketKind> {
        let Some(tracked) = &self.tracked else {
            return vec![PacketKind::New];
        };
        let is_syn = packet.kind == Kind::Syn;
        if !tracked.is_closed() {
            let may_be_new =
                self.picked_up && packet.kind != Kind::Datagram && packet.from == Side::Server;
            return vec![PacketKind::Live {
                assured: tracked.assured && !may_be_new,
                syn: is_syn,
            }];
        }
        match packet.kind {
            Kind::Rst => vec![PacketKind::Aside],
            Kind::Syn => {
                let of = |fate| PacketKind::Reopening {
                    live: fate == Fate::Live,
                };
                self.fates().into_iter().map(of).collect()
            }
            kind => vec![PacketKind::Late {
                bare: tracked.state == "TIME_WAIT" && kind != Kind::Data,
            }],
        }
    }
}

fn is_reset((_, kind): (Side, Kind)) -> bool {
    kind == Kind::Rst
}

/// Whether a packet is one of those that conntrack compares with what the other side has sent.
fn acknowledges(packet: &Packet) -> bool {
    matches!(packet.kind, Kind::Ack | Kind::Data | Kind::Fin)
}
