// SPDX-License-Identifier: GPL-2.0

//! Stands in for the kernel's keyed hash.

use std::hash::{BuildHasher, RandomState};

pub(crate) struct HashKey(Hasher);

enum Hasher {
    Random(RandomState),
    /// So bad that all collide.
    Constant,
}

impl HashKey {
    pub(crate) fn random() -> Self {
        Self(Hasher::Random(RandomState::new()))
    }

    pub(crate) fn constant() -> Self {
        Self(Hasher::Constant)
    }

    pub(crate) fn hash<const N: usize>(&self, words: [u64; N]) -> u32 {
        match &self.0 {
            // The lower half is as good as the whole.
            Hasher::Random(state) => state.hash_one(words) as u32,
            Hasher::Constant => 7,
        }
    }
}
