// SPDX-License-Identifier: GPL-2.0

//! When, and in which context, a packet is looked at.

use crate::bindings;
use kernel::{
    cpu::CpuId,
    current, //
};

/// How many jiffies there are in a second.
pub(crate) const HZ: u32 = bindings::XT_RUST_HZ;

/// The lower half of `jiffies`.
///
/// It wraps, so two of them are compared by their difference, taken modulo 2^32.
#[inline]
pub(crate) fn jiffies() -> u32 {
    // SAFETY: `jiffies` is a word that any context may read at any time. The read is volatile as it
    // changes under us.
    let now = unsafe { core::ptr::read_volatile(&raw const bindings::jiffies) };

    now as u32
}

/// Marks the numbers of tasks.
const TASK: u32 = 1 << 31;

/// A number for the thread of execution of the caller.
///
/// In softirq that is the CPU, as softirqs do not interrupt each other, but on a kernel with
/// `CONFIG_PREEMPT_RT`, where it is nothing. In process context it is the task, not the CPU: a
/// softirq or another task may run while a packet that the first task sends is still on its way to
/// be confirmed.
#[inline]
pub(crate) fn current() -> Option<u32> {
    // SAFETY: It only reads the preempt count of this CPU.
    if unsafe { bindings::xt_rust_in_serving_softirq() } {
        return (!cfg!(CONFIG_PREEMPT_RT)).then(|| CpuId::current().as_u32());
    }
    // CAST: A pid is positive.
    Some(TASK | current!().pid() as u32)
}
