// SPDX-License-Identifier: GPL-2.0

//! Lets a history happen.

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;

use anyhow::{bail, Context, Result};

use super::clock::{self, Jiffy};
use super::history::{Action, Connection, ConnectionId, History, Hook, Kind, Packet, Side};
use super::place::{Place, Stage};
use super::record::{Outcome, Record, Records, Tracked};
use crate::conntrack;
use crate::flow::Flow;
use crate::net::packet::Flags;
use crate::variant::Path;

/// How often to try what did not fit into a jiffy.
const ATTEMPTS: usize = 5;

/// Replays so many histories, and writes down what came of them.
pub fn replay(from: u64, histories: u64) -> Result<()> {
    clock::check()?;
    let mut wire = Place::new(Path::Wire)?;
    let mut loopback = Place::new(Path::Loopback)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for seed in from..from + histories {
        let history = History::new(seed);
        let place = match history.setting.hook {
            Hook::Forward | Hook::Raw => &mut wire,
            Hook::Input => &mut loopback,
        };
        let records = attempts(place, &history).with_context(|| history.to_string())?;
        write!(out, "{records}")?;
    }
    out.flush()?;
    Ok(())
}

fn attempts(place: &mut Place, history: &History) -> Result<Records> {
    for _ in 0..ATTEMPTS {
        if let Some(steps) = Player::new(place, history)?.play()? {
            return Ok(Records {
                seed: history.seed,
                steps,
            });
        }
    }
    bail!("what is to happen within a jiffy has not, {ATTEMPTS} times")
}

struct Player<'a> {
    place: &'a mut Place,
    history: &'a History,
    flows: Vec<Flow>,
    /// What conntrack has, as last seen.
    tracked: Vec<Option<Tracked>>,
    stage: Stage,
}

impl<'a> Player<'a> {
    fn new(place: &'a mut Place, history: &'a History) -> Result<Self> {
        let flows = history.connections.iter().map(|connection| {
            let tuple = connection.tuple;
            Flow::new(tuple.transport, tuple.source, tuple.destination)
        });
        place.enter()?;
        Ok(Self {
            place,
            history,
            flows: flows.collect(),
            tracked: vec![None; history.connections.len()],
            stage: Stage::Before,
        })
    }

    /// Returns nothing if it took longer than it should.
    fn play(mut self) -> Result<Option<Vec<Record>>> {
        if self.history.older > 0 {
            self.place.install(self.history, Stage::Before)?;
        }
        let mut records = Vec::new();
        let mut jiffy = Jiffy::next()?;
        for (number, step) in self.history.steps.iter().enumerate() {
            if number == self.history.older {
                self.place.install(self.history, Stage::Installed)?;
                self.stage = Stage::Installed;
            }
            if !step.at_once {
                jiffy = Jiffy::next()?;
            }
            let outcome = self
                .act(&step.action)
                .with_context(|| format!("step {number}: {step}"))?;
            if step.at_once && !jiffy.lasts()? {
                return Ok(None);
            }
            let states = self.look(&step.action)?;
            records.push(Record { outcome, states });
        }
        Ok(Some(records))
    }

    fn act(&mut self, action: &Action) -> Result<Outcome> {
        match *action {
            Action::Send(packet) => self.send(&packet),
            Action::Assure(connection) => self.if_tracked(connection, conntrack::set_assured),
            Action::Delete(connection) => self.if_tracked(connection, conntrack::delete_in_zone),
            Action::Flush => {
                conntrack::flush()?;
                Ok(Outcome::Done)
            }
            Action::Wait { seconds } => {
                std::thread::sleep(std::time::Duration::from_secs(seconds.into()));
                Ok(Outcome::Done)
            }
        }
    }

    fn if_tracked(
        &self,
        connection: ConnectionId,
        act: impl FnOnce(&conntrack::Tuple, u16) -> Result<()>,
    ) -> Result<Outcome> {
        if self.tracked[connection].is_none() {
            return Ok(Outcome::Idle);
        }
        let Connection { tuple, zone } = self.history.connections[connection];
        act(&tuple, zone)?;
        Ok(Outcome::Done)
    }

    fn send(&mut self, packet: &Packet) -> Result<Outcome> {
        if !packet.stray && self.tracked[packet.connection].is_none() {
            return Ok(Outcome::Idle);
        }
        let (bytes, to) = self.bytes(packet)?;
        let connection = &self.history.connections[packet.connection];
        let decided = match self.stage {
            Stage::Before => {
                self.place.send(&bytes, connection, to)?;
                None
            }
            Stage::Installed => {
                self.place
                    .send_and_decide(&bytes, connection, to, &self.history.rule)?
            }
        };
        Ok(decided.map_or(Outcome::Done, Outcome::Decided))
    }

    /// A packet, and where it goes.
    fn bytes(&mut self, packet: &Packet) -> Result<(Vec<u8>, IpAddr)> {
        let flow = &mut self.flows[packet.connection];
        let tuple = flow.tuple;
        if packet.kind == Kind::Syn {
            *flow = Flow::new(tuple.transport, tuple.source, tuple.destination);
        }
        let flags = match packet.kind {
            Kind::Syn | Kind::SynAck | Kind::Data | Kind::Datagram => None,
            Kind::Ack => Some(Flags::ACK),
            Kind::Fin => Some(Flags::FIN_ACK),
            Kind::Rst => Some(Flags::RST),
        };
        let bytes = match (packet.from, flags) {
            (Side::Client, None) if packet.kind == Kind::Data => flow.data(b"data"),
            (Side::Client, None) => flow.first(),
            (Side::Server, None) => flow.answer(),
            (Side::Client, Some(flags)) => flow.by_client(flags),
            (Side::Server, Some(flags)) => flow.by_server(flags),
        }?;
        let (next, to) = match packet.from {
            Side::Client => (&mut flow.client_next, tuple.destination),
            Side::Server => (&mut flow.server_next, tuple.source),
        };
        if packet.kind == Kind::Fin {
            *next = next.wrapping_add(1);
        }
        Ok((bytes, to.ip()))
    }

    /// What conntrack has of the connections that this may have changed.
    fn look(&mut self, action: &Action) -> Result<Vec<(ConnectionId, Option<Tracked>)>> {
        let changed = match *action {
            Action::Send(Packet { connection, .. })
            | Action::Assure(connection)
            | Action::Delete(connection) => connection..connection + 1,
            Action::Flush | Action::Wait { .. } => 0..self.tracked.len(),
        };
        changed
            .map(|connection| {
                let found = self.place.tracked(&self.history.connections[connection])?;
                self.tracked[connection] = found.clone();
                Ok((connection, found))
            })
            .collect()
    }
}
