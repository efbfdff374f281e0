// SPDX-License-Identifier: GPL-2.0

//! The memory that this thread uses.

use std::cell::Cell;

use crate::alloc::AllocError;

thread_local! {
    static IN_USE: Cell<usize> = const { Cell::new(0) };
    static UNTIL_FAILURE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// How many bytes are in use, as slabs of the kernel would hold them.
pub fn in_use() -> usize {
    IN_USE.get()
}

/// Has the allocation fail that comes after so many others, and all that follow it until this is
/// called again.
pub fn fail_after(allocations: Option<u32>) {
    UNTIL_FAILURE.set(allocations);
}

/// The size of the slab that holds `bytes`.
fn slab(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        65..=96 => 96,
        129..=192 => 192,
        _ => bytes.next_power_of_two(),
    }
}

pub(crate) fn take(bytes: usize) -> Result<(), AllocError> {
    match UNTIL_FAILURE.get() {
        Some(0) => return Err(AllocError),
        Some(left) => UNTIL_FAILURE.set(Some(left - 1)),
        None => (),
    }
    IN_USE.set(IN_USE.get() + slab(bytes));
    Ok(())
}

pub(crate) fn give_back(bytes: usize) {
    IN_USE.set(IN_USE.get() - slab(bytes));
}
