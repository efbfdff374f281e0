// SPDX-License-Identifier: GPL-2.0

//! Grace periods of RCU, asked for and polled.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use crate::bindings;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// The state of the grace period that was asked for last: nobody else need take RCU's locks for it.
static ASKED_FOR: Atomic<usize> = Atomic::new(usize::MAX);

/// A state for the grace period that waits for all readers there are now. It is no number to count
/// with.
#[inline]
pub(crate) fn state() -> usize {
    // SAFETY: Any context may ask for it.
    unsafe { bindings::get_state_synchronize_rcu() }
}

/// Sees to it that this grace period begins.
pub(crate) fn ask_for() {
    if ASKED_FOR.load(Relaxed) == state() {
        return;
    }
    // SAFETY: It may be called wherever `call_rcu` may, with bottom halves off, too.
    let state = unsafe { bindings::start_poll_synchronize_rcu() };
    ASKED_FOR.store(state, Relaxed);
}

/// Whether the grace period of `state` is over.
#[inline]
pub(crate) fn is_over(state: usize) -> bool {
    // SAFETY: It only reads, whatever `state` is.
    unsafe { bindings::poll_state_synchronize_rcu(state) }
}
