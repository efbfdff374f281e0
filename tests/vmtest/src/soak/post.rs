// SPDX-License-Identifier: GPL-2.0

//! What one CPU opens connections with: a device that its client's packets come in by and that the
//! answers go out by, and the sockets of its servers. The kernel has done all that it does about a
//! packet before it takes the packet from us, so whether it was let through is known at once.

use std::io::Read;
use std::iter;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use socket2::Type;

use crate::conntrack::{self, Tuple};
use crate::flow::Flow;
use crate::net::address::{self, PORT};
use crate::net::packet::{datagram, Flags, Packet, Segment};
use crate::net::route;
use crate::net::socket;
use crate::net::tcp::{self, forget};
use crate::net::tun::Tun;
use crate::system;
use crate::variant::{Family, Path, Transport};

/// No server listens there.
const CLOSED_PORT: u16 = 7;
/// The first of the clients' ports.
const FIRST_PORT: u16 = 1024;
/// Clients from this number up have other keys than those below.
const OTHER_CLIENTS: u16 = 0x100;
/// How many of them send datagrams, to connections that stay.
const OTHER_DATAGRAMS: u16 = 0xfff;

pub struct Post {
    family: Family,
    tun: Tun,
    client: IpAddr,
    listener: TcpListener,
    socket: UdpSocket,
    server: SocketAddr,
    next_port: u16,
}

/// A connection that was let through.
pub struct Connection {
    pub flow: Flow,
    /// The server's end, where that is the connection's own.
    stream: Option<TcpStream>,
}

/// What came of a first packet.
pub enum Attempt {
    Refused,
    LetThrough(Connection),
}

/// The ways in which a connection comes to its end.
#[derive(Clone, Copy)]
pub enum End {
    Reset,
    Finish,
    /// As `conntrack -D`.
    Delete,
}

impl Post {
    /// The length of the prefix that the clients of all CPUs have in common.
    pub fn mask(family: Family) -> u8 {
        match family {
            Family::Ipv4 => 24,
            Family::Ipv6 => 120,
        }
    }

    /// In the current namespace.
    pub fn new(family: Family, cpu: u16) -> Result<Self> {
        let device = format!("tun{cpu}");
        let tun = Tun::new(&device)?;
        // A queue would have what this CPU sends out sent by another one, some time later.
        system::run(
            "tc",
            &["qdisc", "add", "dev", &device, "root", "noqueue"],
            "",
        )?;
        route::set_up(&device)?;
        let client = address::client(family, Path::Wire, cpu + 1);
        let whole = if client.is_ipv4() { 32 } else { 128 };
        route::add((client, whole), &device)?;
        let server = SocketAddr::new(address::server(family, Path::Wire), PORT + cpu);
        let socket: UdpSocket = socket::bound(Type::DGRAM, server)?.into();
        socket.set_nonblocking(true)?;
        Ok(Self {
            family,
            tun,
            client,
            listener: tcp::listen(server)?,
            socket,
            server,
            next_port: FIRST_PORT,
        })
    }

    /// Whether a connection is of this key.
    pub fn is_of_key(&self, tuple: &Tuple) -> bool {
        let key = |address| address::masked(address, Self::mask(self.family));
        key(tuple.source.ip()) == key(self.client)
    }

    fn next_flow(&mut self, transport: Transport) -> Flow {
        let source = SocketAddr::new(self.client, self.next_port);
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        Flow::new(transport, source, self.server)
    }

    /// Sends the first packets of new connections, one right after the other: then each CPU spends
    /// most of its time where those of others can meet it.
    pub fn attempts(&mut self, transport: Transport, count: usize) -> Result<Vec<Attempt>> {
        let flows: Vec<Flow> = (0..count).map(|_| self.next_flow(transport)).collect();
        let packets = flows.iter().map(Flow::first).collect::<Result<Vec<_>>>()?;
        self.drain()?;
        packets
            .iter()
            .try_for_each(|packet| self.tun.send(packet))?;
        let answers = self.drain()?;
        let arrived = self.arrived();
        Ok(flows
            .into_iter()
            .map(|mut flow| {
                let let_through = match transport {
                    Transport::Udp => arrived.contains(&flow.tuple.source),
                    Transport::Tcp => match find(&answers, &flow, Flags::SYN_ACK) {
                        Some(answer) => {
                            flow.server_next = answer.sequence.wrapping_add(1);
                            true
                        }
                        None => false,
                    },
                };
                if !let_through {
                    return Attempt::Refused;
                }
                let stream = None;
                Attempt::LetThrough(Connection { flow, stream })
            })
            .collect())
    }

    /// Does what makes a connection whole after its first packet. Returns whether that was let
    /// through.
    pub fn complete(&mut self, connection: &mut Connection) -> Result<bool> {
        let client = connection.flow.tuple.source;
        match connection.flow.tuple.transport {
            Transport::Udp => {
                self.socket.send_to(b"answer", client)?;
                Ok(true)
            }
            Transport::Tcp => {
                self.tun.send(&connection.flow.later()?)?;
                while let Ok((stream, from)) = self.listener.accept() {
                    if from == client {
                        stream.set_nonblocking(true)?;
                        connection.stream = Some(stream);
                    } else {
                        forget(&stream);
                    }
                }
                Ok(connection.stream.is_some())
            }
        }
    }

    /// Sends another packet of a connection. Returns whether it was let through.
    pub fn data(&mut self, connection: &mut Connection) -> Result<bool> {
        const DATA: &[u8] = b"data";
        let packet = match connection.flow.tuple.transport {
            Transport::Udp => connection.flow.later()?,
            Transport::Tcp => connection.flow.data(DATA)?,
        };
        self.drain()?;
        self.tun.send(&packet)?;
        match &mut connection.stream {
            None => Ok(self.arrived().contains(&connection.flow.tuple.source)),
            Some(stream) => {
                let mut buffer = [0; DATA.len()];
                // What was not let through is not there.
                Ok(matches!(stream.read(&mut buffer), Ok(length) if length == DATA.len()))
            }
        }
    }

    /// Ends a connection of which conntrack knows.
    pub fn end(&mut self, mut connection: Connection, how: End) -> Result<()> {
        let Some(stream) = connection.stream.take() else {
            return match connection.flow.tuple.transport {
                Transport::Udp => conntrack::delete(&connection.flow.tuple),
                Transport::Tcp => self.reset(&connection.flow),
            };
        };
        match how {
            End::Reset => {
                self.reset(&connection.flow)?;
                forget(&stream);
            }
            End::Delete => {
                conntrack::delete(&connection.flow.tuple)?;
                forget(&stream);
            }
            End::Finish => {
                let flow = &mut connection.flow;
                self.drain()?;
                self.tun.send(&flow.by_client(Flags::FIN_ACK)?)?;
                flow.client_next = flow.client_next.wrapping_add(1);
                // Closing it would do so only once no program that has just been started has it open.
                stream.shutdown(Shutdown::Both)?;
                if let Some(fin) = find(&self.drain()?, flow, Flags::FIN_ACK) {
                    flow.server_next = fin.sequence.wrapping_add(1);
                }
                self.tun.send(&flow.by_client(Flags::ACK)?)?;
            }
        }
        Ok(())
    }

    /// Ends a connection of which conntrack may know nothing any more.
    pub fn abandon(&mut self, connection: Connection) -> Result<()> {
        match &connection.stream {
            Some(stream) => forget(stream),
            None => {
                if connection.flow.tuple.transport == Transport::Tcp {
                    self.reset(&connection.flow)?;
                }
            }
        }
        // There may be none, or one that a packet has made since.
        let _ = conntrack::delete(&connection.flow.tuple);
        Ok(())
    }

    fn reset(&self, flow: &Flow) -> Result<()> {
        self.tun.send(&flow.by_client(Flags::RST)?)
    }

    /// Sends packets of other clients, whose keys are many: a SYN to where no server is, and a
    /// datagram.
    pub fn scatter(&self, number: u64) -> Result<()> {
        let [a, b, c, d, ..] = number.to_le_bytes();
        let client = u16::from_le_bytes([a, b]) | OTHER_CLIENTS;
        let from = SocketAddr::new(
            address::client(self.family, Path::Wire, client),
            u16::from_le_bytes([c, d]),
        );
        let to = SocketAddr::new(self.server.ip(), CLOSED_PORT);
        self.tun
            .send(&Flow::new(Transport::Tcp, from, to).first()?)?;

        let client = (client & OTHER_DATAGRAMS) | OTHER_CLIENTS;
        let client = address::client(self.family, Path::Wire, client);
        let from = SocketAddr::new(client, FIRST_PORT);
        self.tun.send(&datagram(from, self.server)?)
    }

    /// Takes in what has come to the socket. Returns whom it has come from.
    fn arrived(&self) -> Vec<SocketAddr> {
        let mut buffer = [0; 64];
        // The only error of an unconnected socket is that nothing is there.
        iter::from_fn(|| self.socket.recv_from(&mut buffer).ok())
            .map(|(_, from)| from)
            .collect()
    }

    /// Takes in what has gone out.
    fn drain(&self) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        while let Some(packet) = self.tun.receive(Duration::ZERO)? {
            if let Packet::Tcp { segment, .. } = packet {
                segments.push(segment);
            }
        }
        Ok(segments)
    }
}

/// The last segment with these flags that the server has sent to a client.
fn find(answers: &[Segment], flow: &Flow, flags: Flags) -> Option<Segment> {
    let wanted = |answer: &&Segment| answer.to == flow.tuple.source && answer.flags == flags;
    answers.iter().rev().find(wanted).copied()
}
