// SPDX-License-Identifier: GPL-2.0

//! Counting the connections of keys.
//!
//! A [`Table`] remembers, for each key, the connections that were seen for it, and decides for each
//! packet whether its connection is one too many. It learns what became of a connection by looking
//! it up, through an [`Environment`], and knows nothing else of netfilter.
//!
//! - [`entry`]: one remembered connection, and what is known of it.
//! - [`bucket`]: the connections of one key, and the decision.
//! - [`table`]: from keys to buckets.

mod bucket;
mod entry;
mod table;

pub(crate) use table::{
    Key,
    Table, //
};

/// What looking a connection up has shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Conntrack does not have it.
    Unknown,
    /// Conntrack has it still, but it is over.
    Closed,
    /// Conntrack has it.
    Live {
        /// Whether it is assured.
        assured: bool,
    },
}

/// What a table asks of its surroundings.
pub(crate) trait Environment<C> {
    /// Tells what became of `connection`.
    fn fate(&self, connection: &C) -> Fate;

    /// When it is, and by whom packets are handled.
    fn moment(&self) -> Moment;
}

/// How far the connection of a packet has got when the packet is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Conntrack does not have it yet, and may never.
    Unconfirmed,
    /// Conntrack has it.
    Confirmed,
    /// It is assured: it was let through.
    Assured,
}

/// When a packet is seen, and by whom.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// The time in jiffies. It may wrap.
    pub(crate) now: u32,
    /// A number for the thread of execution. By the time that the same thread handles another
    /// packet, conntrack has either confirmed the connection of the one before, or never will.
    pub(crate) context: u32,
}

/// A packet of a connection.
pub(crate) struct Sighting<'a, C> {
    /// The connection.
    pub(crate) connection: &'a C,
    /// How far it has got.
    pub(crate) progress: Progress,
}

/// What a table says of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// With its connection the key has no more connections than the limit.
    Under,
    /// Its connection is one too many.
    Over,
}
