// SPDX-License-Identifier: GPL-2.0

//! Boxes and vectors that ask for memory, and may not get it.

use std::mem::{size_of, take};
use std::ops::{Deref, DerefMut};

use crate::memory;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

#[derive(Clone, Copy)]
pub struct Flags;

pub const GFP_ATOMIC: Flags = Flags;

pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        memory::take(size_of::<T>())?;
        Ok(Self(Box::new(value)))
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        memory::give_back(size_of::<T>());
    }
}

/// What did not fit.
pub struct PushError<T>(pub T);

pub struct KVec<T> {
    items: Vec<T>,
    capacity: usize,
}

impl<T> KVec<T> {
    pub const fn new() -> Self {
        Self {
            items: Vec::new(),
            capacity: 0,
        }
    }

    pub fn with_capacity(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut vec = Self::new();
        vec.reserve(capacity, flags)?;
        Ok(vec)
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn reserve(&mut self, additional: usize, _flags: Flags) -> Result<(), AllocError> {
        let wanted = self.items.len() + additional;
        if wanted <= self.capacity {
            return Ok(());
        }
        let capacity = wanted.max(2 * self.capacity);
        memory::take(capacity * size_of::<T>())?;
        memory::give_back(self.capacity * size_of::<T>());
        self.capacity = capacity;
        Ok(())
    }

    pub fn push(&mut self, item: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.items.push(item);
        Ok(())
    }

    pub fn push_within_capacity(&mut self, item: T) -> Result<(), PushError<T>> {
        if self.items.len() == self.capacity {
            return Err(PushError(item));
        }
        self.items.push(item);
        Ok(())
    }

    pub fn pop(&mut self) -> Option<T> {
        self.items.pop()
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(mut self) -> Self::IntoIter {
        take(&mut self.items).into_iter()
    }
}

impl<T> Drop for KVec<T> {
    fn drop(&mut self) {
        memory::give_back(self.capacity * size_of::<T>());
    }
}
