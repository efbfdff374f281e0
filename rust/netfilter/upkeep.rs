// SPDX-License-Identifier: GPL-2.0

//! Deferred work of a rule.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use kernel::{
    ffi::c_ulong,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

/// A time in jiffies.
pub(crate) type Jiffies = u32;

/// Work that a rule has done for it in process context, some time later.
///
/// It has an end before the rule does: see [`Self::stop`].
#[pin_data]
pub(crate) struct Upkeep {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    /// 1 once the work is to end.
    stopping: Atomic<i32>,
}

// SAFETY: The workqueue synchronises what is done to its work.
unsafe impl Send for Upkeep {}
// SAFETY: All methods take `&self` and only call the workqueue, which synchronises them.
unsafe impl Sync for Upkeep {}

/// What is called back. It gets what [`Upkeep::from_work`] takes.
pub(super) type Callback = unsafe extern "C" fn(*mut bindings::work_struct);

impl Upkeep {
    /// Makes work that calls `callback` once it is queued.
    ///
    /// # Safety
    ///
    /// The callback must be sound to call with the work, in process context, until [`Self::stop`]
    /// has returned. That must be called before the memory is given up.
    pub(super) unsafe fn new(callback: Callback) -> impl PinInit<Self> {
        pin_init!(Self {
            work <- Opaque::ffi_init(|work| {
                // SAFETY: `work` can be written, and the caller keeps it valid until it is stopped.
                unsafe { bindings::xt_rust_init_delayed_work(work, Some(callback)) }
            }),
            stopping: Atomic::new(0),
        })
    }

    /// Finds the upkeep whose callback is called.
    ///
    /// # Safety
    ///
    /// `work` must be what a callback of [`Self::new`] was called with.
    pub(super) unsafe fn from_work(work: *mut bindings::work_struct) -> *const Self {
        // SAFETY: The caller promises that it is the work in a `delayed_work`.
        let work = unsafe { kernel::container_of!(work, bindings::delayed_work, work) };
        // CAST: `Opaque` is transparent.
        let work = work.cast::<Opaque<bindings::delayed_work>>();

        // SAFETY: The caller promises that it is the one in an `Upkeep`.
        unsafe { kernel::container_of!(work, Self, work) }
    }

    /// Has the work done after `delay`, unless it is queued already.
    pub(crate) fn after(&self, delay: Jiffies) {
        // CAST: `unsigned long` is no shorter.
        let delay = delay as c_ulong;

        // SAFETY: The work was initialised by `new`. Once it is being stopped the workqueue refuses
        // it.
        unsafe { bindings::xt_rust_queue_delayed_work(self.work.get(), delay) };
    }

    /// Has the work done after `delay`, also where it is queued for later.
    pub(crate) fn hasten(&self, delay: Jiffies) {
        // CAST: `unsigned long` is no shorter.
        let delay = delay as c_ulong;

        // SAFETY: The work was initialised by `new`, and the workqueue refuses it once it is being
        // stopped.
        unsafe { bindings::xt_rust_mod_delayed_work(self.work.get(), delay) };
    }

    /// Lets others run. `None` if the work is to end.
    ///
    /// Must be called where sleeping is allowed.
    pub(crate) fn give_way(&self) -> Option<()> {
        // SAFETY: The caller may sleep.
        unsafe { bindings::xt_rust_cond_resched() };
        (self.stopping.load(Relaxed) == 0).then_some(())
    }

    /// Ends the work: waits for it if it runs, and keeps it from being queued meanwhile.
    ///
    /// Nobody must queue it afterwards.
    pub(super) fn stop(&self) {
        self.stopping.store(1, Relaxed);
        // SAFETY: The work was initialised by `new`.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }
}
