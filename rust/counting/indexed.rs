// SPDX-License-Identifier: GPL-2.0

//! A vector whose items are found by hash.

use super::chunked::Chunked;
use crate::hash::HashKey;
use kernel::alloc::AllocError;

/// Up to so many items are looked through one by one.
const SCANNED: usize = 8;

/// How many heads there are when there get to be more.
const FIRST_HEADS: usize = 4;

/// So many items share a chain, on average.
const PER_CHAIN: usize = 2;

/// The end of a chain.
const END: u32 = u32::MAX;

/// What is found by hash.
pub(super) trait Hashed {
    fn hash(&self, key: &HashKey) -> u32;
}

/// A vector in which items are found by a hash of theirs.
///
/// The index is a hash table with chains that grows by linear hashing: one chain is split for every
/// [`PER_CHAIN`] items that are added, and joined again when they are taken away. So no operation
/// touches more than a few chains, however many there are. Few items have no index.
pub(super) struct Indexed<T> {
    items: Chunked<T>,
    /// For each item, the next one of its chain. Empty where there is no index.
    next: Chunked<u32>,
    /// The first item of each chain. Empty where there is no index.
    heads: Chunked<u32>,
}

/// The chain of `hash`, of `chains`.
#[inline]
fn chain_of(hash: u32, chains: usize) -> usize {
    let mask = chains.next_power_of_two().wrapping_sub(1);
    let chain = hash as usize & mask;

    if chain < chains {
        chain
    } else {
        chain & (mask >> 1)
    }
}

/// The chain that `chain` was split off from.
fn parent(chain: usize) -> usize {
    match chain.checked_ilog2() {
        Some(highest) => chain & !1usize.wrapping_shl(highest),
        None => 0,
    }
}

impl<T: Hashed> Indexed<T> {
    pub(super) const fn new() -> Self {
        Self {
            items: Chunked::new(),
            next: Chunked::new(),
            heads: Chunked::new(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.items.get(index)
    }

    /// What is changed must not be what is hashed.
    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.items.get_mut(index)
    }

    /// Whether items are found by hash. Where they are not, nobody looks at one.
    #[inline]
    pub(super) fn has_index(&self) -> bool {
        !self.heads.is_empty()
    }

    /// Finds the item that `is_it` tells, and that has this hash.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        if !self.has_index() {
            return self.scan(is_it);
        }
        let mut at = *self.heads.get(chain_of(hash, self.heads.len()))?;
        while at != END {
            let index = at as usize;
            if is_it(self.items.get(index)?) {
                return Some(index);
            }
            at = *self.next.get(index)?;
        }
        None
    }

    fn scan(&self, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        const { assert!(SCANNED <= Chunked::<T>::PIECE) };

        for (index, item) in self.items.first_piece().iter().enumerate() {
            if is_it(item) {
                return Some(index);
            }
        }
        None
    }

    /// Appends `item`, which has this hash.
    ///
    /// # Errors
    ///
    /// If there is no memory, or if there are four billion. Then nothing has changed.
    pub(super) fn push(&mut self, item: T, hash: u32, key: &HashKey) -> Result<(), AllocError> {
        let index = self.len();

        // `END` is not an index.
        if index >= END as usize {
            return Err(AllocError);
        }
        if !self.has_index() {
            if index < SCANNED {
                return self.items.push(item);
            }
            let hash = item.hash(key);
            self.build(key)?;
            return self.push_indexed(item, hash, key);
        }
        self.push_indexed(item, hash, key)
    }

    fn push_indexed(&mut self, item: T, hash: u32, key: &HashKey) -> Result<(), AllocError> {
        let index = self.len();

        self.next.push(END)?;
        if let Err(error) = self.items.push(item) {
            self.next.pop();
            return Err(error);
        }
        self.link(index, hash);
        if self.len() > self.heads.len().saturating_mul(PER_CHAIN) {
            self.split(key);
        }
        Ok(())
    }

    /// Takes the item at `index` away. The last one takes its place.
    pub(super) fn remove(&mut self, index: usize, key: &HashKey) -> Option<T> {
        let last = self.len().checked_sub(1)?;

        if self.has_index() {
            self.unlink(index, self.items.get(index)?.hash(key));
            if index != last {
                let hash = self.items.get(last)?.hash(key);
                self.unlink(last, hash);
                self.link(index, hash);
            }
            self.next.pop();
        }
        let mut removed = self.items.pop()?;
        if let Some(item) = self.items.get_mut(index) {
            core::mem::swap(item, &mut removed);
        }
        self.join();
        Some(removed)
    }

    /// Makes an index where there was none.
    fn build(&mut self, key: &HashKey) -> Result<(), AllocError> {
        let (mut heads, mut next) = (Chunked::new(), Chunked::new());

        for _ in 0..FIRST_HEADS {
            heads.push(END)?;
        }
        for _ in 0..self.len() {
            next.push(END)?;
        }
        self.heads = heads;
        self.next = next;
        for index in 0..self.len() {
            if let Some(item) = self.items.get(index) {
                self.link(index, item.hash(key));
            }
        }
        Ok(())
    }

    /// Puts the item at `index` to the front of the chain of `hash`.
    fn link(&mut self, index: usize, hash: u32) {
        let chain = chain_of(hash, self.heads.len());

        if let (Some(head), Some(next)) = (self.heads.get_mut(chain), self.next.get_mut(index)) {
            *next = core::mem::replace(head, index as u32);
        }
    }

    /// Takes the item at `index` out of the chain of `hash`.
    fn unlink(&mut self, index: usize, hash: u32) {
        let chain = chain_of(hash, self.heads.len());
        let (Some(head), Some(&after)) = (self.heads.get_mut(chain), self.next.get(index)) else {
            return;
        };

        if *head == index as u32 {
            *head = after;
            return;
        }
        let mut at = *head;
        while let Some(next) = self.next.get_mut(at as usize) {
            if *next == index as u32 {
                *next = after;
                return;
            }
            at = *next;
        }
    }

    /// Splits the chain whose turn it is. Without memory it stays as it is.
    fn split(&mut self, key: &HashKey) {
        let chain = self.heads.len();

        if self.heads.push(END).is_err() {
            return;
        }
        let Some(head) = self.heads.get_mut(parent(chain)) else {
            return;
        };
        let mut at = core::mem::replace(head, END);
        while at != END {
            let index = at as usize;
            let (Some(&next), Some(item)) = (self.next.get(index), self.items.get(index)) else {
                return;
            };
            at = next;
            self.link(index, item.hash(key));
        }
    }

    /// Joins the last chain to the one that it was split off from, where there are twice as many as
    /// needed. Few items lose their index.
    fn join(&mut self) {
        if !self.has_index() {
            return;
        }
        if self.len() <= SCANNED / 2 {
            self.heads = Chunked::new();
            self.next = Chunked::new();
            return;
        }
        if self.heads.len() <= FIRST_HEADS
            || self.len() > self.heads.len().saturating_mul(PER_CHAIN) / 2
        {
            return;
        }
        let Some(first) = self.heads.pop() else {
            return;
        };
        let chain = parent(self.heads.len());
        let mut last = END;
        let mut at = first;
        while let Some(&next) = self.next.get(at as usize) {
            last = at;
            at = next;
        }
        if let (Some(head), Some(next)) =
            (self.heads.get_mut(chain), self.next.get_mut(last as usize))
        {
            *next = core::mem::replace(head, first);
        }
    }
}

impl<T: Hashed + Copy> Indexed<T> {
    /// Swaps two items.
    pub(super) fn swap(&mut self, a: usize, b: usize, key: &HashKey) {
        if a == b {
            return;
        }
        let (Some(&item_a), Some(&item_b)) = (self.get(a), self.get(b)) else {
            return;
        };
        let hashes = self
            .has_index()
            .then(|| (item_a.hash(key), item_b.hash(key)));

        if let Some((hash_a, hash_b)) = hashes {
            self.unlink(a, hash_a);
            self.unlink(b, hash_b);
        }
        for (index, item) in [(a, item_b), (b, item_a)] {
            if let Some(place) = self.items.get_mut(index) {
                *place = item;
            }
        }
        if let Some((hash_a, hash_b)) = hashes {
            self.link(a, hash_b);
            self.link(b, hash_a);
        }
    }
}
