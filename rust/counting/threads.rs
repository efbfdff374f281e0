// SPDX-License-Identifier: GPL-2.0

//! Who handles packets, in few bits.

use super::Moment;

/// How many threads are told apart at the same time.
const KNOWN: usize = 15;

/// Stands for all others.
const UNKNOWN: u8 = KNOWN as u8;

/// After so many jiffies a connection that conntrack does not have is not about to be confirmed any
/// more.
pub(super) const CONFIRMED_WITHIN: u16 = 2;

/// A [`Moment`], shortened to what a remembered connection has room for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The lower half of the time.
    pub(super) time: u16,
    /// The thread's place, or [`UNKNOWN`].
    pub(super) thread: u8,
}

impl Stamp {
    /// A stamp of no thread in particular, of which time alone tells.
    pub(super) fn at(moment: &Moment) -> Self {
        Self {
            time: moment.now as u16,
            thread: UNKNOWN,
        }
    }

    /// The same without a thread.
    pub(super) fn of_nobody(self) -> Self {
        Self {
            thread: UNKNOWN,
            ..self
        }
    }

    /// Whether what was on its way at `earlier` has got there by now, if it ever will.
    pub(super) fn settles(self, earlier: Self) -> bool {
        (self.thread != UNKNOWN && self.thread == earlier.thread)
            || self.time.wrapping_sub(earlier.time) >= CONFIRMED_WITHIN
    }
}

#[derive(Clone, Copy)]
struct Place {
    thread: u32,
    /// When it handled its last packet.
    last: u32,
}

/// No thread has this number: those of tasks are smaller.
const NOBODY: u32 = u32::MAX;

/// The threads that have handled packets of late.
pub(super) struct Threads([Place; KNOWN]);

impl Threads {
    pub(super) const fn new() -> Self {
        let free = Place {
            thread: NOBODY,
            last: 0,
        };

        Self([free; KNOWN])
    }

    /// Shortens `moment`.
    ///
    /// A place is given to another thread once all that the first one has stamped is settled by
    /// time. A thread that gets none is an unknown one, of which time alone tells.
    pub(super) fn stamp(&mut self, moment: &Moment) -> Stamp {
        let index = moment.thread as usize % KNOWN;
        let place = Place {
            thread: moment.thread,
            last: moment.now,
        };
        let mut thread = UNKNOWN;

        if let Some(found) = self.0.get_mut(index) {
            if found.thread == moment.thread
                || found.thread == NOBODY
                || moment.now.wrapping_sub(found.last) >= CONFIRMED_WITHIN.into()
            {
                *found = place;
                thread = index as u8;
            }
        }
        Stamp {
            thread,
            ..Stamp::at(moment)
        }
    }
}
