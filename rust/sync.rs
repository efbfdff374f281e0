// SPDX-License-Identifier: GPL-2.0

//! A spinlock that keeps bottom halves out.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use crate::bindings;
use kernel::{
    ffi::c_char,
    sync::lock::{
        Backend,
        Lock, //
    }, //
};

/// A spinlock for data that packets reach both in softirq and in process context.
///
/// It is taken with `spin_lock_bh()`: under nftables a packet of the output path comes in process
/// context with bottom halves on, and a softirq on the same CPU would spin for ever on a lock that
/// was taken there without keeping it out.
pub(crate) type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// Creates an initialiser for a [`SpinLockBh`] with a lock class of its own.
#[macro_export]
macro_rules! new_spinlock_bh {
    ($inner:expr, $name:literal) => {
        $crate::sync::SpinLockBh::new(
            $inner,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}

/// The backend of [`SpinLockBh`].
pub(crate) struct SpinLockBhBackend;

// SAFETY: `spinlock_t` gives mutual exclusion to whoever holds it, and `relock` is the default one,
// which calls `lock`.
unsafe impl Backend for SpinLockBhBackend {
    type State = bindings::spinlock_t;
    type GuardState = ();

    #[inline]
    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: The caller promises that `ptr` can be written, and that `name` and `key` live for
        // ever.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The caller promises that `ptr` was initialised by `init`.
        unsafe { bindings::xt_rust_spin_lock_bh(ptr) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        // SAFETY: The caller promises that `ptr` was initialised by `init`.
        let taken = unsafe { bindings::xt_rust_spin_trylock_bh(ptr) };

        (taken != 0).then_some(())
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &Self::GuardState) {
        // SAFETY: The caller promises that `ptr` was initialised by `init` and that it owns the
        // lock.
        unsafe { bindings::xt_rust_spin_unlock_bh(ptr) }
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The caller promises that `ptr` was initialised by `init`.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}
