// SPDX-License-Identifier: GPL-2.0

//! Netlink messages that are made of attributes. Crates with types for all of them are large, or
//! asynchronous, or lack what is needed here: conntrack entries, and rules of nf_tables as bytes.

use std::io;

use anyhow::{bail, Context, Result};
use netlink_packet_core::{
    DecodeError, Emitable, NetlinkBuffer, NetlinkHeader, NlaBuffer, NlasIterator, NLA_F_NESTED,
    NLM_F_ACK, NLM_F_REQUEST,
};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};

const HEADER: usize = 16;

/// Attributes being written.
#[derive(Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    pub fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).expect("attributes here are short");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub fn put_str(self, kind: u16, value: &str) -> Self {
        self.put(kind, format!("{value}\0").as_bytes())
    }

    pub fn nest(self, kind: u16, inner: Attributes) -> Self {
        self.nest_bytes(kind, &inner.0)
    }

    pub fn nest_bytes(self, kind: u16, inner: &[u8]) -> Self {
        self.put(kind | NLA_F_NESTED, inner)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The attributes of a message, or inside another attribute.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<NlaBuffer<&[u8]>, DecodeError>> {
    NlasIterator::new(bytes)
}

/// The value of the first attribute of this kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<Vec<u8>> {
    attributes(bytes)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == kind)
        .map(|attribute| attribute.value().to_vec())
}

pub struct Request {
    kind: u16,
    pub flags: u16,
    /// What stands before the attributes, and how long that is in answers.
    fixed: Vec<u8>,
    pub attributes: Attributes,
}

impl Request {
    pub fn new(kind: u16, fixed: Vec<u8>) -> Self {
        Self {
            kind,
            flags: 0,
            fixed,
            attributes: Attributes::default(),
        }
    }

    /// With a `struct nfgenmsg`: family, version, resource.
    pub fn netfilter(subsystem: u8, message: u8, family: u8, resource: u16) -> Self {
        let [high, low] = resource.to_be_bytes();
        Self::new(
            u16::from_be_bytes([subsystem, message]),
            vec![family, 0, high, low],
        )
    }

    fn emit(&self, sequence: u32) -> Result<Vec<u8>> {
        let length = HEADER + self.fixed.len() + self.attributes.0.len();
        let mut header = NetlinkHeader::default();
        header.length = length.try_into()?;
        header.message_type = self.kind;
        header.flags = NLM_F_REQUEST | self.flags;
        header.sequence_number = sequence;
        let mut bytes = vec![0; HEADER];
        header.emit(&mut bytes);
        bytes.extend(&self.fixed);
        bytes.extend(&self.attributes.0);
        Ok(bytes)
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// A socket in the namespace of the thread that opened it.
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    pub fn netfilter() -> Result<Self> {
        Self::open(NETLINK_NETFILTER)
    }

    pub fn route() -> Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    fn open(protocol: isize) -> Result<Self> {
        let mut socket = Socket::new(protocol).context("netlink")?;
        socket.bind_auto()?;
        Ok(Self { socket })
    }

    /// Asks for something to be done; an error is the kernel's answer.
    pub fn act(&self, mut request: Request) -> Result<()> {
        request.flags |= NLM_F_ACK;
        self.transact(&[request])
    }

    /// The same, without waiting for the answer: others may come before it.
    pub fn tell(&self, request: Request) -> Result<()> {
        self.send(&request.emit(0)?)
    }

    /// Asks for one thing, and returns the attributes of what the kernel answers; nothing if it has no
    /// such thing.
    pub fn get(&self, mut request: Request) -> Result<Option<Vec<u8>>> {
        request.flags |= NLM_F_ACK;
        self.send(&request.emit(1)?)?;
        match self.answers(1, request.fixed.len()) {
            Ok(messages) => Ok(messages.into_iter().next()),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends messages as one and waits for the answer to the last that wants one.
    pub fn transact(&self, requests: &[Request]) -> Result<()> {
        let mut batch = Vec::new();
        let mut last = 0;
        for (request, sequence) in requests.iter().zip(1..) {
            batch.extend(request.emit(sequence)?);
            if request.flags & NLM_F_ACK != 0 {
                last = sequence;
            }
        }
        self.send(&batch)?;
        self.answers(last, 0).map(drop)
    }

    /// The attributes of each message of a dump.
    pub fn dump(&self, mut request: Request) -> Result<Vec<Vec<u8>>> {
        request.flags |= netlink_packet_core::NLM_F_DUMP;
        self.send(&request.emit(1)?)?;
        self.answers(1, request.fixed.len())
    }

    /// Messages that the kernel has sent of its own accord: the type and the attributes of each, after
    /// `fixed` bytes. Empty if none is there.
    pub fn unasked(&self, fixed: usize) -> Result<Vec<(u16, Vec<u8>)>> {
        const LARGEST: usize = 8192;
        let mut received = Vec::with_capacity(LARGEST);
        match self.socket.recv_from(&mut received, libc::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let mut messages = Vec::new();
        let mut rest = &received[..];
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest)?;
            let length = usize::try_from(message.length())?.next_multiple_of(4);
            let attributes = message.payload().get(fixed..).context("a short message")?;
            messages.push((message.message_type(), attributes.to_vec()));
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(messages)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        self.socket.send_to(bytes, &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }

    fn answers(&self, last: u32, fixed: usize) -> Result<Vec<Vec<u8>>> {
        let mut messages = Vec::new();
        loop {
            let (received, _) = self.socket.recv_from_full()?;
            let mut rest = &received[..];
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest)?;
                let length = usize::try_from(message.length())?.next_multiple_of(4);
                let payload = message.payload();
                match i32::from(message.message_type()) {
                    libc::NLMSG_DONE => return Ok(messages),
                    libc::NLMSG_ERROR => {
                        let code = payload
                            .first_chunk()
                            .map_or(0, |&code| i32::from_ne_bytes(code));
                        if code != 0 {
                            return Err(io::Error::from_raw_os_error(-code).into());
                        }
                        if message.sequence_number() == last {
                            return Ok(messages);
                        }
                    }
                    _ => match payload.get(fixed..) {
                        Some(attributes) => messages.push(attributes.to_vec()),
                        None => bail!("a message of {length} bytes"),
                    },
                }
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
}
