// SPDX-License-Identifier: GPL-2.0

//! Random traffic, replayed to both implementations, and their decisions compared packet by packet.
//!
//! A history is made from a number, so that both see the same. It is replayed where the clock counts
//! instructions (`scripts/vm --icount`): there is one CPU, and what is to happen within one jiffy does.
//! What was decided, and what conntrack had after each step, is written down, and compared elsewhere.

mod allowed;
mod clock;
mod compare;
mod coverage;
mod entry;
mod generate;
mod history;
mod in_tree;
mod ours;
mod place;
mod record;
mod replay;
mod world;

pub use compare::compare;
pub use replay::replay;
