// SPDX-License-Identifier: GPL-2.0

//! Keyed hashing.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h)

use crate::bindings;
use kernel::ffi::c_void;

/// A secret key for SipHash.
///
/// Whoever does not know it cannot choose inputs that collide.
pub(crate) struct SipKey(bindings::siphash_key_t);

impl SipKey {
    /// Makes a random key.
    pub(crate) fn random() -> Self {
        let mut key = bindings::siphash_key_t::default();

        // SAFETY: `key` can be written for as many bytes as are asked for, and any bytes make a
        // key.
        unsafe {
            bindings::get_random_bytes(
                (&raw mut key).cast::<c_void>(),
                core::mem::size_of_val(&key),
            )
        };
        Self(key)
    }

    /// Hashes three words.
    #[inline]
    pub(crate) fn hash(&self, words: [u64; 3]) -> u64 {
        let [a, b, c] = words;

        // SAFETY: `self.0` is a valid key for the length of the call.
        unsafe { bindings::siphash_3u64(a, b, c, &self.0) }
    }
}
