// SPDX-License-Identifier: GPL-2.0

//! A program behind the target NFQUEUE, which holds packets until it is told to let them go on.

use anyhow::{Context, Result};

use crate::netlink::{attribute, Attributes, Netlink, Request};

const SUBSYSTEM: u8 = 3;
const PACKET: u8 = 0;
const VERDICT: u8 = 1;
const CONFIG: u8 = 2;

const NFQA_CFG_CMD: u16 = 1;
const NFQA_CFG_PARAMS: u16 = 2;
const NFQA_PACKET_HDR: u16 = 1;
const NFQA_VERDICT_HDR: u16 = 2;

/// `struct nfqnl_msg_config_cmd`: the command, padding, a family that is not looked at.
const BIND: [u8; 4] = [1, 0, 0, 0];
/// `struct nfqnl_msg_config_params`: how much of a packet to copy, and that it is none of its bytes.
const WITHOUT_DATA: [u8; 5] = [0, 0, 0, 0, 1];
const ACCEPT: u32 = 1;

/// `struct nfgenmsg`
const HEADER: usize = 4;

pub struct Queue {
    netlink: Netlink,
    number: u16,
    /// The numbers of the packets that it holds.
    held: Vec<u32>,
}

impl Queue {
    /// Takes what the queue of this number gets in the current namespace.
    pub fn bind(number: u16) -> Result<Self> {
        let netlink = Netlink::netfilter()?;
        for (kind, value) in [(NFQA_CFG_CMD, &BIND[..]), (NFQA_CFG_PARAMS, &WITHOUT_DATA)] {
            let mut request = Request::netfilter(SUBSYSTEM, CONFIG, 0, number);
            request.attributes = Attributes::default().put(kind, value);
            netlink.act(request).context("a queue of packets")?;
        }
        Ok(Self {
            netlink,
            number,
            held: Vec::new(),
        })
    }

    /// How many packets it holds.
    pub fn held(&mut self) -> Result<usize> {
        loop {
            let messages = self.netlink.unasked(HEADER)?;
            if messages.is_empty() {
                return Ok(self.held.len());
            }
            for (kind, attributes) in messages {
                if kind == u16::from_be_bytes([SUBSYSTEM, PACKET]) {
                    let header = attribute(&attributes, NFQA_PACKET_HDR);
                    let id = header.as_deref().and_then(|header| header.first_chunk());
                    self.held.push(u32::from_be_bytes(
                        *id.context("a packet without a number")?,
                    ));
                }
            }
        }
    }

    /// Has all that it holds go on. Returns how many packets that were.
    pub fn release(&mut self) -> Result<usize> {
        let count = self.held()?;
        self.release_first(count)?;
        Ok(count)
    }

    /// Has so many go on that it knows to hold, those that came first.
    pub fn release_first(&mut self, count: usize) -> Result<()> {
        for id in self.held.drain(..count) {
            let verdict = [ACCEPT.to_be_bytes(), id.to_be_bytes()].concat();
            let mut request = Request::netfilter(SUBSYSTEM, VERDICT, 0, self.number);
            request.attributes = Attributes::default().put(NFQA_VERDICT_HDR, &verdict);
            self.netlink.tell(request)?;
        }
        Ok(())
    }
}
