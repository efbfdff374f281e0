// SPDX-License-Identifier: GPL-2.0

//! A rule as the kernel takes it.

use crate::mask::{Family, Mask};
use crate::options::{self, Given, Opt, Refusal, Revision, Taken};
use crate::rule::{Comparison, Rule, Side};

/// The parameters in `struct xt_connlimit_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// In network order. For IPv4 only the first four bytes mean anything.
    pub mask: [u8; 16],
    pub limit: u32,
    pub flags: u32,
}

impl Info {
    pub const INVERT: u32 = 1 << 0;
    pub const DADDR: u32 = 1 << 1;

    /// What a rule has before any option: each address counts by itself. For both families.
    pub const BLANK: Self = Self {
        mask: Mask::DEFAULT_BYTES,
        limit: 0,
        flags: 0,
    };

    pub fn rule(&self, family: Family) -> Rule {
        Rule {
            family,
            comparison: if self.flags & Self::INVERT == 0 {
                Comparison::Above
            } else {
                Comparison::Upto
            },
            limit: self.limit,
            mask: Mask::from_bytes(family, self.mask),
            side: if self.flags & Self::DADDR == 0 {
                Side::Source
            } else {
                Side::Destination
            },
        }
    }

    /// Has the option change the rule. What is refused changes nothing.
    pub fn take<'a>(
        &mut self,
        family: Family,
        revision: Revision,
        taken: Taken,
        option: Opt,
        given: Given<'a>,
    ) -> Result<Taken, Refusal<'a>> {
        let mut rule = self.rule(family);
        let taken = options::take(&mut rule, revision, taken, option, given)?;
        self.limit = rule.limit;
        self.flags &= !(Self::INVERT | Self::DADDR);
        if rule.comparison == Comparison::Upto {
            self.flags |= Self::INVERT;
        }
        if rule.side == Side::Destination {
            self.flags |= Self::DADDR;
        }
        // Else it stays what it was, also where IPv4 does not use it.
        if option == Opt::Mask {
            self.mask = rule.mask.bytes();
        }
        Ok(taken)
    }
}
