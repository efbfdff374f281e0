// SPDX-License-Identifier: GPL-2.0

//! What a rule says.

use crate::mask::{Family, Mask};

/// When it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Upto,
    Above,
}

/// Whose connections it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub family: Family,
    pub comparison: Comparison,
    pub limit: u32,
    pub mask: Mask,
    pub side: Side,
}
