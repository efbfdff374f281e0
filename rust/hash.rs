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
        let [low, high] = [|word: u64| word as u32, |word: u64| (word >> 32) as u32];

        // For a few words there are functions without a loop.
        match *words.as_slice() {
            // SAFETY: `self.0` is a valid key for the length of the call.
            [a] => unsafe { bindings::hsiphash_2u32(low(a), high(a), &self.0) },
            // SAFETY: `hsiphash_2u32()` only reads the key, which is valid.
            [a, b] => unsafe { bindings::hsiphash_4u32(low(a), high(a), low(b), high(b), &self.0) },
            // SAFETY: The key is valid, and the words can be read for their length.
            _ => unsafe {
                bindings::xt_rust_hsiphash(
                    words.as_ptr().cast::<c_void>(),
                    N * size_of::<u64>(),
                    &self.0,
                )
            },
        }
    }
}
