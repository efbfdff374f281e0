// SPDX-License-Identifier: GPL-2.0

//! Grace periods of RCU, asked for and polled.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use super::context;
use crate::bindings;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// The state of the grace period that was asked for last, and the jiffy in which it was: nobody else
/// need take RCU's locks for it meanwhile.
///
/// In the next jiffy it is asked for again. RCU has one record for the grace periods of two kinds
/// that may go on at once, and can lose sight of one that begins within the other.
static ASKED_FOR: Atomic<usize> = Atomic::new(usize::MAX);
static ASKED_AT: Atomic<u32> = Atomic::new(0);

/// A state for the grace period that waits for all readers there are now. It is no number to count
/// with.
#[inline]
pub(crate) fn state() -> usize {
    // SAFETY: Any context may ask for it.
    unsafe { bindings::get_state_synchronize_rcu() }
}

/// Sees to it that this grace period begins.
pub(crate) fn ask_for() {
    let now = context::jiffies();
    if ASKED_FOR.load(Relaxed) == state() && ASKED_AT.load(Relaxed) == now {
        return;
    }
    // SAFETY: It may be called wherever `call_rcu` may, with bottom halves off, too.
    let state = unsafe { bindings::start_poll_synchronize_rcu() };
    ASKED_FOR.store(state, Relaxed);
    ASKED_AT.store(now, Relaxed);
}

/// Whether the grace period of `state` is over.
#[inline]
pub(crate) fn is_over(state: usize) -> bool {
    // SAFETY: It only reads, whatever `state` is.
    unsafe { bindings::poll_state_synchronize_rcu(state) }
}
