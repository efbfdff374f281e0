// SPDX-License-Identifier: GPL-2.0

//! Where a lab's packets come from and where its servers are.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use socket2::Type;

use crate::flow::Flow;
use crate::net::address::{self, PORT};
use crate::net::link;
use crate::net::loopback::RawSocket;
use crate::net::packet::{Flags, Packet, Segment};
use crate::net::route;
use crate::net::socket;
use crate::net::tcp;
use crate::net::tun::Tun;
use crate::variant::{Family, Path, Transport};

/// How long to wait for what is on its way already.
const PATIENCE: Duration = Duration::from_secs(5);

pub enum Outside {
    /// Clients beyond a TUN device; the server is a socket.
    Wire(Wire),
    /// Both ends are played by the test, which sends whole packets through `lo`.
    Loopback(RawSocket),
}

pub struct Wire {
    tun: Tun,
    server: Server,
    /// What the kernel has sent out, and how much of it before the last packet that we sent.
    sent_out: Vec<Packet>,
    earlier: usize,
}

pub enum Server {
    Tcp {
        listener: TcpListener,
        accepted: Vec<(TcpStream, SocketAddr)>,
    },
    Udp(UdpSocket),
}

/// What a client beyond the TUN device gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Accepted,
    Reset,
    Unreachable,
    Nothing,
}

impl Outside {
    pub fn new(family: Family, transport: Transport, path: Path) -> Result<Self> {
        match path {
            Path::Wire => Self::wire(family, transport),
            Path::Loopback => {
                if family == Family::Ipv6 {
                    route::add_local(address::servers(family))?;
                }
                Ok(Outside::Loopback(RawSocket::new(family)?))
            }
        }
    }

    fn wire(family: Family, transport: Transport) -> Result<Self> {
        let tun = Tun::new("tun0")?;
        route::set_up("tun0")?;
        // All other addresses, clients', are beyond the device.
        route::add((address::any(family), 0), "tun0")?;
        route::add_local(address::servers(family))?;
        // Each refusal is to be answered, not one a second.
        link::sysctl(
            match family {
                Family::Ipv4 => "net/ipv4/icmp_ratelimit",
                Family::Ipv6 => "net/ipv6/icmp/ratelimit",
            },
            "0",
        )?;
        // A server whose last packet from the client was dropped waits for it, and keeps the
        // namespace, for minutes.
        link::sysctl("net/ipv4/tcp_orphan_retries", "1")?;
        let server = SocketAddr::new(address::any(family), PORT);
        let server = match transport {
            Transport::Tcp => Server::Tcp {
                listener: tcp::listen(server)?,
                accepted: Vec::new(),
            },
            Transport::Udp => {
                // The socket answers from the address that it is bound to.
                let address = SocketAddr::new(address::server(family, Path::Wire), PORT);
                Server::Udp(socket::bound(Type::DGRAM, address)?.into())
            }
        };
        Ok(Outside::Wire(Wire {
            tun,
            server,
            sent_out: Vec::new(),
            earlier: 0,
        }))
    }

    /// Sends a packet of the client.
    pub fn send(&mut self, packet: &[u8], flow: &Flow) -> Result<()> {
        match self {
            Outside::Wire(wire) => {
                wire.collect(Duration::ZERO)?;
                wire.earlier = wire.sent_out.len();
                wire.tun.send(packet)
            }
            Outside::Loopback(socket) => socket.send(packet, flow.tuple.destination.ip()),
        }
    }

    /// The device, for sending packets past the bookkeeping here.
    pub fn tun(&self) -> Result<Tun> {
        match self {
            Outside::Wire(wire) => wire.tun.try_clone(),
            Outside::Loopback(_) => bail!("there is no device on loopback"),
        }
    }

    /// Has the server answer the first packet.
    pub fn answer(&mut self, flow: &mut Flow) -> Result<()> {
        match self {
            Outside::Loopback(socket) => socket.send(&flow.answer()?, flow.tuple.source.ip()),
            Outside::Wire(wire) => match &wire.server {
                Server::Udp(socket) => {
                    socket.send_to(b"answer", flow.tuple.source)?;
                    Ok(())
                }
                Server::Tcp { .. } => {
                    let syn_ack = wire.segment(flow, |flags| flags == Flags::SYN_ACK)?;
                    flow.server_next = syn_ack.sequence.wrapping_add(1);
                    Ok(())
                }
            },
        }
    }

    /// Has the server close its side after the client has.
    pub fn finish(&mut self, flow: &mut Flow) -> Result<()> {
        match self {
            Outside::Loopback(socket) => {
                let client = flow.tuple.source.ip();
                socket.send(&flow.by_server(Flags::ACK)?, client)?;
                socket.send(&flow.by_server(Flags::FIN_ACK)?, client)?;
            }
            Outside::Wire(wire) => {
                let Server::Tcp { listener, accepted } = &mut wire.server else {
                    bail!("UDP has no end");
                };
                while let Ok(stream) = listener.accept() {
                    accepted.push(stream);
                }
                let index = accepted
                    .iter()
                    .position(|(_, client)| *client == flow.tuple.source)
                    .context("the server has not accepted the connection")?;
                // Closes it.
                drop(accepted.swap_remove(index));
                let fin = wire.segment(flow, |flags| flags.fin)?;
                ensure!(fin.sequence == flow.server_next, "the server sent data");
            }
        }
        flow.server_next = flow.server_next.wrapping_add(1);
        Ok(())
    }

    /// What the kernel has sent back for the packet just sent: it did so before the packet was
    /// taken from us, so there is nothing to wait for.
    pub fn reply(&mut self, flow: &Flow) -> Result<Reply> {
        let Outside::Wire(wire) = self else {
            bail!("replies are seen on the wire only");
        };
        wire.collect(Duration::ZERO)?;
        for packet in &wire.sent_out[wire.earlier..] {
            match packet {
                Packet::Tcp { segment, .. } if segment.to == flow.tuple.source => {
                    return match segment.flags {
                        Flags::SYN_ACK => Ok(Reply::Accepted),
                        Flags { rst: true, .. } => Ok(Reply::Reset),
                        other => bail!("the server answers with {other:?}"),
                    }
                }
                Packet::Icmp { to } if *to == flow.tuple.source.ip() => {
                    return Ok(Reply::Unreachable)
                }
                _ => {}
            }
        }
        Ok(Reply::Nothing)
    }
}

impl Wire {
    /// Takes in what the kernel sends out, until nothing comes for as long as `patience`.
    fn collect(&mut self, patience: Duration) -> Result<()> {
        while let Some(packet) = self.tun.receive(patience)? {
            self.sent_out.push(packet);
        }
        Ok(())
    }

    /// The last TCP segment of this kind that the server has sent to a client.
    fn segment(&mut self, flow: &Flow, wanted: impl Fn(Flags) -> bool) -> Result<Segment> {
        let find = |sent_out: &[Packet]| {
            sent_out.iter().rev().find_map(|packet| match packet {
                Packet::Tcp { segment, .. }
                    if segment.to == flow.tuple.source && wanted(segment.flags) =>
                {
                    Some(*segment)
                }
                _ => None,
            })
        };
        self.collect(Duration::ZERO)?;
        if let Some(segment) = find(&self.sent_out) {
            return Ok(segment);
        }
        while let Some(packet) = self.tun.receive(PATIENCE)? {
            self.sent_out.push(packet);
            if let Some(segment) = find(&self.sent_out) {
                return Ok(segment);
            }
        }
        bail!("the server does not answer {}", flow.tuple.source)
    }
}
