// SPDX-License-Identifier: GPL-2.0

//! Bindings to the netfilter headers, made by bindgen when the module is built.
//!
//! Types that the `kernel` crate binds are its own, so that they can be passed on to it.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    improper_ctypes
)]

pub use kernel::bindings::*;
use kernel::ffi;
use pin_init::MaybeZeroable;

include!(concat!(
    env!("XTCL_OBJ"),
    "/rust/bindings/bindings_generated.rs"
));
