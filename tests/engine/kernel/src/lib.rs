// SPDX-License-Identifier: GPL-2.0

//! Stands in for what the counting engine uses of the kernel's crate of that name.
//!
//! Each thread has its own account of the memory that is in use, and can have allocations fail.

pub mod alloc;
pub mod memory;

pub mod prelude {
    pub use crate::alloc::{Flags, KBox, KVec, GFP_ATOMIC};
}
