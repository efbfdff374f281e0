// SPDX-License-Identifier: GPL-2.0

//! Netfilter: what a match needs of it.
//!
//! - [`family`]: the protocol families and their addresses.
//! - [`xtables`]: matches, their rules and the packets that they see.
//! - [`conntrack`]: connections, their tuples and zones, and looking them up.
//! - [`tcp`]: segments of TCP.
//! - [`context`]: when and in which context a packet is looked at.
//! - [`grace`]: when packets that are being handled have been.
//! - [`upkeep`]: what a rule has done for it later.
//! - [`log`]: messages that packets or users may cause at will.

pub(crate) mod conntrack;
pub(crate) mod context;
pub(crate) mod family;
pub(crate) mod grace;
pub(crate) mod log;
pub(crate) mod tcp;
pub(crate) mod upkeep;
pub(crate) mod xtables;
