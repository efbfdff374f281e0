// SPDX-License-Identifier: GPL-2.0

//! Keyed hashing.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h)

use crate::bindings;
use core::mem::{
    size_of,
    size_of_val, //
};
use kernel::ffi::c_void;

/// A secret key for HalfSipHash, or for what the kernel takes instead of it where words are long.
///
/// Whoever does not know it cannot choose inputs that collide.
pub(crate) struct HashKey(bindings::hsiphash_key_t);

impl HashKey {
    /// Makes a random key.
    pub(crate) fn random() -> Self {
        let mut key = bindings::hsiphash_key_t::default();

        // SAFETY: `key` can be written for as many bytes as are asked for, and any bytes make a
        // key.
        unsafe { bindings::get_random_bytes((&raw mut key).cast::<c_void>(), size_of_val(&key)) };
        Self(key)
    }

    /// Hashes some words.
    #[inline]
    pub(crate) fn hash<const N: usize>(&self, words: [u64; N]) -> u32 {
        // SAFETY: The words can be read for their length, and `self.0` is a valid key for that of the
        // call.
        unsafe {
            bindings::xt_rust_hsiphash(
                words.as_ptr().cast::<c_void>(),
                N * size_of::<u64>(),
                &self.0,
            )
        }
    }
}
