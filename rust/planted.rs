// SPDX-License-Identifier: GPL-2.0

//! Mistakes, one for each thing that the debug kernel is to notice, and those that the soak is to.
//! `make PLANTED=NAME` builds a module that makes one: tests/debug/planted and tests/host/planted load
//! them. No other module has this.

use kernel::prelude::*;

// These are made in each rule, not here.
#[cfg(any(planted = "over_limit", planted = "one_thread"))]
pub(crate) fn plant() -> Result {
    Ok(())
}

#[cfg(planted = "use_after_free")]
pub(crate) fn plant() -> Result {
    let value = KBox::new(1u64, GFP_KERNEL)?;
    let pointer: *const u64 = &*value;
    drop(value);
    // SAFETY: It is not sound: KASAN is to say so.
    pr_info!("{}\n", unsafe { pointer.read_volatile() });
    Ok(())
}

#[cfg(planted = "leak")]
pub(crate) fn plant() -> Result {
    // Many: where a slab keeps its free objects, pointers to those that it has handed out last are
    // left.
    for number in 0..1000u32 {
        let _ = KBox::into_raw(KBox::new([number; 24], GFP_KERNEL)?);
    }
    Ok(())
}

#[cfg(any(planted = "lock_inversion", planted = "sleep_in_atomic"))]
use crate::{
    new_spinlock_bh,
    sync::SpinLockBh, //
};

#[cfg(planted = "lock_inversion")]
pub(crate) fn plant() -> Result {
    let one: Pin<KBox<SpinLockBh<()>>> =
        KBox::pin_init(new_spinlock_bh!((), "planted_one"), GFP_KERNEL)?;
    let other: Pin<KBox<SpinLockBh<()>>> =
        KBox::pin_init(new_spinlock_bh!((), "planted_other"), GFP_KERNEL)?;
    {
        let _one = one.lock();
        let _other = other.lock();
    }
    let _other = other.lock();
    let _one = one.lock();
    Ok(())
}

#[cfg(planted = "sleep_in_atomic")]
pub(crate) fn plant() -> Result {
    let lock: Pin<KBox<SpinLockBh<()>>> =
        KBox::pin_init(new_spinlock_bh!((), "planted"), GFP_KERNEL)?;
    let _guard = lock.lock();
    // This may sleep.
    let _value = KBox::new(1u64, GFP_KERNEL)?;
    Ok(())
}
