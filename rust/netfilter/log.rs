// SPDX-License-Identifier: GPL-2.0

//! Messages that packets or users may cause at will.
//!
//! C header: [`include/linux/net.h`](srctree/include/linux/net.h)

use crate::bindings;

/// Whether another message may be logged now: the network code's messages have a common limit.
pub(crate) fn allowed() -> bool {
    // SAFETY: It may be called in any context.
    unsafe { bindings::net_ratelimit() != 0 }
}

/// Logs at the level `info`, unless too much was logged lately.
#[macro_export]
macro_rules! pr_info_ratelimited {
    ($($arg:tt)*) => {
        if $crate::netfilter::log::allowed() {
            ::kernel::pr_info!($($arg)*);
        }
    };
}
