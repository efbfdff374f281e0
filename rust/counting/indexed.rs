// SPDX-License-Identifier: GPL-2.0

//! A vector whose items are found by hash.

use super::chunked::Chunked;
use crate::hash::HashKey;
use kernel::alloc::AllocError;

/// Up to so many items are looked through one by one.
const SCANNED: usize = 8;

/// How many heads there are when there get to be more.
const FIRST_HEADS: usize = 2;

/// So many items share a chain, on average.
const PER_CHAIN: usize = 4;

/// The end of a chain.
const END: u32 = u32::MAX;

/// What is found by hash.
pub(super) trait Hashed {
    fn hash(&self, key: &HashKey) -> u32;
}

struct Slot<T> {
    item: T,
    /// The next slot of its chain.
    next: u32,
}

/// A vector in which items are found by a hash of theirs.
///
/// The index is a hash table with chains that grows by linear hashing: one chain is split for every
/// [`PER_CHAIN`] items that are added, and joined again when they are taken away. So no operation
/// touches more than a few chains, however many there are. Few items have no index.
pub(super) struct Indexed<T> {
    slots: Chunked<Slot<T>>,
    /// The first slot of each chain. Empty where there is no index.
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
            slots: Chunked::new(),
            heads: Chunked::new(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.slots.get(index).map(|slot| &slot.item)
    }

    /// What is changed must not be what is hashed.
    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.slots.get_mut(index).map(|slot| &mut slot.item)
    }

    /// Finds the item that `is_it` tells, which has the hash that `hash` returns.
    #[inline]
    pub(super) fn find(
        &self,
        hash: impl FnOnce() -> u32,
        is_it: impl Fn(&T) -> bool,
    ) -> Option<usize> {
        if self.heads.len() == 0 {
            return self.scan(is_it);
        }
        let mut at = *self.heads.get(chain_of(hash(), self.heads.len()))?;
        while at != END {
            let slot = self.slots.get(at as usize)?;
            if is_it(&slot.item) {
                return Some(at as usize);
            }
            at = slot.next;
        }
        None
    }

    fn scan(&self, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        const { assert!(SCANNED <= Chunked::<Slot<T>>::PIECE) };

        for (index, slot) in self.slots.first_piece().iter().enumerate() {
            if is_it(&slot.item) {
                return Some(index);
            }
        }
        None
    }

    /// Appends `item`.
    ///
    /// # Errors
    ///
    /// If there is no memory, or if there are four billion. Then nothing has changed.
    pub(super) fn push(&mut self, item: T, key: &HashKey) -> Result<(), AllocError> {
        let index = self.len();
        // `END` is not an index.
        if index >= END as usize {
            return Err(AllocError);
        }
        if self.heads.len() == 0 && index == SCANNED {
            self.build(key)?;
        }
        let hash = if self.heads.len() == 0 {
            0
        } else {
            item.hash(key)
        };
        self.slots.push(Slot { item, next: END })?;
        self.link(index, hash);
        if self.heads.len() != 0 && self.len() > self.heads.len().saturating_mul(PER_CHAIN) {
            self.split(key);
        }
        Ok(())
    }

    /// Takes the item at `index` away. The last one takes its place.
    pub(super) fn remove(&mut self, index: usize, key: &HashKey) -> Option<T> {
        let last = self.len().checked_sub(1)?;
        self.unlink(index, self.hash_at(index, key)?);
        if index != last {
            let hash = self.hash_at(last, key)?;
            self.unlink(last, hash);
            self.link(index, hash);
        }
        let mut removed = self.slots.pop()?;
        if let Some(slot) = self.slots.get_mut(index) {
            // The link is that of the place, which was just made.
            core::mem::swap(&mut slot.item, &mut removed.item);
        }
        self.join();
        Some(removed.item)
    }

    /// The hash of the item at `index`. Without an index nobody asks for it: 0.
    fn hash_at(&self, index: usize, key: &HashKey) -> Option<u32> {
        let item = self.get(index)?;
        Some(if self.heads.len() == 0 {
            0
        } else {
            item.hash(key)
        })
    }

    /// Makes an index where there was none.
    fn build(&mut self, key: &HashKey) -> Result<(), AllocError> {
        let mut heads = Chunked::new();
        for _ in 0..FIRST_HEADS {
            heads.push(END)?;
        }
        self.heads = heads;
        for index in 0..self.len() {
            if let Some(hash) = self.hash_at(index, key) {
                self.link(index, hash);
            }
        }
        Ok(())
    }

    /// Puts the slot at `index` to the front of the chain of `hash`.
    fn link(&mut self, index: usize, hash: u32) {
        let chain = chain_of(hash, self.heads.len().max(1));
        let (Some(head), Some(slot)) = (self.heads.get_mut(chain), self.slots.get_mut(index))
        else {
            return;
        };
        slot.next = core::mem::replace(head, index as u32);
    }

    /// Takes the slot at `index` out of the chain of `hash`.
    fn unlink(&mut self, index: usize, hash: u32) {
        let chain = chain_of(hash, self.heads.len().max(1));
        let (Some(head), Some(slot)) = (self.heads.get_mut(chain), self.slots.get(index)) else {
            return;
        };
        let next = slot.next;
        if *head == index as u32 {
            *head = next;
            return;
        }
        let mut at = *head;
        while let Some(slot) = self.slots.get_mut(at as usize) {
            if slot.next == index as u32 {
                slot.next = next;
                return;
            }
            at = slot.next;
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
            let (Some(slot), Some(hash)) = (self.slots.get(index), self.hash_at(index, key)) else {
                return;
            };
            at = slot.next;
            self.link(index, hash);
        }
    }

    /// Joins the last chain to the one that it was split off from, where there are twice as many as
    /// needed. Few items lose their index.
    fn join(&mut self) {
        if self.len() <= SCANNED / 2 {
            self.heads = Chunked::new();
        }
        if self.heads.len() <= FIRST_HEADS
            || self.len() > self.heads.len().saturating_mul(PER_CHAIN / 2)
        {
            return;
        }
        let Some(first) = self.heads.pop() else {
            return;
        };
        let chain = parent(self.heads.len());
        let mut last = None;
        let mut at = first;
        while let Some(slot) = self.slots.get(at as usize) {
            last = Some(at);
            at = slot.next;
        }
        let (Some(last), Some(head)) = (last, self.heads.get_mut(chain)) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(last as usize) {
            slot.next = core::mem::replace(head, first);
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
        let (Some(hash_a), Some(hash_b)) = (self.hash_at(a, key), self.hash_at(b, key)) else {
            return;
        };
        self.unlink(a, hash_a);
        self.unlink(b, hash_b);
        for (index, item) in [(a, item_b), (b, item_a)] {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.item = item;
            }
        }
        self.link(a, hash_b);
        self.link(b, hash_a);
    }
}
