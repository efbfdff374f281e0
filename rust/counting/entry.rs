// SPDX-License-Identifier: GPL-2.0

//! One remembered connection.

use super::{
    Answer,
    Environment,
    Fate,
    Moment,
    Progress,
    Sighting, //
};

/// After so many jiffies a connection that conntrack does not have is not about to be confirmed any
/// more.
const CONFIRMED_WITHIN: u32 = 2;

/// Whether conntrack had a connection when it was last seen or looked up.
#[derive(Clone, Copy)]
enum Standing {
    /// Not yet: its packet was on its way.
    Pending(Moment),
    /// It had it.
    Confirmed,
}

/// Whether a connection is presumed to have been refused, because its last answer was
/// [`Answer::Over`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It is not: its last answer was [`Answer::Under`], or it was let through all the same.
    None,
    /// It is. Conntrack did not have it at the time: that conntrack has it now shows that it was
    /// let through.
    BeforeConfirmation,
    /// It is. Conntrack had it already, as on loopback: only that it becomes assured shows that it
    /// was let through.
    AfterConfirmation,
}

/// A remembered connection.
#[derive(Clone, Copy)]
pub(super) struct Entry<C> {
    connection: C,
    standing: Standing,
    refusal: Refusal,
}

impl<C: Copy + Eq> Entry<C> {
    /// Remembers the connection of a packet.
    pub(super) fn new(sighting: &Sighting<'_, C>, moment: &Moment, answer: Answer) -> Self {
        let mut entry = Self {
            connection: *sighting.connection,
            standing: Standing::Confirmed,
            refusal: Refusal::None,
        };

        entry.update(sighting, moment, answer);
        entry
    }

    /// Whether it is `connection` that is remembered.
    pub(super) fn is(&self, connection: &C) -> bool {
        self.connection == *connection
    }

    /// Whether it counts: it is not presumed refused.
    pub(super) fn counts(&self) -> bool {
        self.refusal == Refusal::None
    }

    /// Takes note of another packet, and of what was answered to it.
    pub(super) fn update(&mut self, sighting: &Sighting<'_, C>, moment: &Moment, answer: Answer) {
        self.standing = match sighting.progress {
            Progress::Unconfirmed => Standing::Pending(*moment),
            Progress::Confirmed | Progress::Assured => Standing::Confirmed,
        };
        self.refusal = match (answer, sighting.progress) {
            (Answer::Under, _) | (Answer::Over, Progress::Assured) => Refusal::None,
            (Answer::Over, Progress::Unconfirmed) => Refusal::BeforeConfirmation,
            (Answer::Over, Progress::Confirmed) => Refusal::AfterConfirmation,
        };
    }

    /// Looks the connection up. Returns whether it is still to be remembered.
    pub(super) fn verify(&mut self, environment: &impl Environment<C>, moment: &Moment) -> bool {
        match environment.fate(&self.connection) {
            Fate::Closed => false,
            Fate::Unknown => match self.standing {
                Standing::Confirmed => false,
                Standing::Pending(seen) => {
                    seen.context != moment.context
                        && moment.now.wrapping_sub(seen.now) < CONFIRMED_WITHIN
                }
            },
            Fate::Live { assured } => {
                self.standing = Standing::Confirmed;
                if assured || self.refusal == Refusal::BeforeConfirmation {
                    self.refusal = Refusal::None;
                }
                true
            }
        }
    }
}
