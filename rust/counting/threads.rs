// SPDX-License-Identifier: GPL-2.0

//! Who handles packets, in few bits.

/// How many threads are told apart at the same time, at most.
const KNOWN: usize = 15;

/// Stands for all others.
const UNKNOWN: u8 = KNOWN as u8;

/// By whom a packet was seen, and until when it may be on its way, in what a remembered connection
/// has room for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The number of a grace period that waits for the packet.
    pub(super) grace_period: u16,
    /// The thread's place, or [`UNKNOWN`].
    pub(super) thread: u8,
}

impl Stamp {
    /// A stamp of no thread in particular, of which the grace period alone tells.
    pub(super) fn of_nobody(grace_period: u16) -> Self {
        Self {
            grace_period,
            thread: UNKNOWN,
        }
    }

    /// Whether it is of the same thread, which has gone on since.
    pub(super) fn is_by_thread_of(self, earlier: Self) -> bool {
        self.thread != UNKNOWN && self.thread == earlier.thread
    }
}

#[derive(Clone, Copy)]
struct Place {
    thread: u32,
    /// A grace period that waits for all packets that it has seen.
    grace_period: u16,
}

/// No thread has this number: those of tasks are smaller.
const NOBODY: u32 = u32::MAX;

/// The threads that have handled packets of late.
pub(super) struct Threads([Place; KNOWN]);

impl Threads {
    pub(super) const fn new() -> Self {
        let free = Place {
            thread: NOBODY,
            grace_period: 0,
        };

        Self([free; KNOWN])
    }

    /// The stamp of a packet that `thread` sees, if it is of one, and that `grace_period` waits for.
    ///
    /// A place is given to another thread once all that the first one has stamped is settled, as
    /// `is_over` tells of a grace period. A thread that gets none is an unknown one.
    pub(super) fn stamp(
        &mut self,
        thread: Option<u32>,
        grace_period: u16,
        is_over: impl FnOnce(u16) -> bool,
    ) -> Stamp {
        let mut stamp = Stamp::of_nobody(grace_period);
        let Some(thread) = thread else {
            return stamp;
        };
        let index = thread as usize % KNOWN;

        if let Some(place) = self.0.get_mut(index) {
            if place.thread == thread || place.thread == NOBODY || is_over(place.grace_period) {
                *place = Place {
                    thread,
                    grace_period,
                };
                stamp.thread = index as u8;
            }
        }
        stamp
    }
}
