// SPDX-License-Identifier: GPL-2.0

//! A panic ends the program, as any error of an extension does: nothing unwinds into C.

use core::panic::PanicInfo;

use crate::boundary;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    boundary::fail(
        crate::bindings::OTHER_PROBLEM,
        c"connlimit: internal error of libxt_connlimit",
    )
}
