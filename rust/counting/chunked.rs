// SPDX-License-Identifier: GPL-2.0

//! A vector in pieces.

use core::mem::size_of;
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// A piece and each node above it take a kilobyte at most.
const PIECE_BYTES: usize = 1024;

type Piece<T> = KVec<T>;
type Node<T> = KVec<Piece<T>>;

/// A vector that neither moves what it holds when it grows, nor asks for much memory at once.
///
/// It is a tree of three levels. Only the first piece grows by being copied, up to a kilobyte. A
/// piece is freed when it gets empty, so that the memory follows the length both ways.
pub(super) struct Chunked<T> {
    nodes: KVec<Node<T>>,
    len: usize,
}

impl<T> Chunked<T> {
    /// How many items are in a piece: a power of two, so that an index is taken apart by shifts.
    pub(super) const PIECE: usize = Self::that_fit(size_of::<T>());
    const NODE: usize = Self::that_fit(size_of::<Piece<T>>()) * Self::PIECE;
    const SMALLEST: usize = if Self::PIECE < 4 { Self::PIECE } else { 4 };

    const fn that_fit(size: usize) -> usize {
        if size > PIECE_BYTES {
            1
        } else {
            1 << (PIECE_BYTES / size).ilog2()
        }
    }

    pub(super) const fn new() -> Self {
        Self {
            nodes: KVec::new(),
            len: 0,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.nodes
            .get(index / Self::NODE)?
            .get(index % Self::NODE / Self::PIECE)?
            // A node holds whole pieces.
            .get(index % Self::PIECE)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.nodes
            .get_mut(index / Self::NODE)?
            .get_mut(index % Self::NODE / Self::PIECE)?
            .get_mut(index % Self::PIECE)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first items: as many as are in one piece.
    #[inline]
    pub(super) fn first_piece(&self) -> &[T] {
        match self.nodes.first().and_then(|node| node.first()) {
            Some(piece) => piece,
            None => &[],
        }
    }

    /// Appends `item`.
    ///
    /// # Errors
    ///
    /// If there is no memory. Then nothing has changed.
    pub(super) fn push(&mut self, item: T) -> Result<(), AllocError> {
        if self.len % Self::NODE == 0 {
            self.nodes.push(KVec::new(), GFP_ATOMIC)?;
        }
        let pushed = self.push_into_last(item);
        if pushed.is_ok() {
            self.len = self.len.saturating_add(1);
        } else {
            self.trim();
        }
        pushed
    }

    fn push_into_last(&mut self, item: T) -> Result<(), AllocError> {
        let (is_first, is_full) = (self.len < Self::PIECE, self.len % Self::PIECE == 0);
        let Some(node) = self.nodes.last_mut() else {
            return Err(AllocError);
        };

        if is_full {
            let capacity = if is_first {
                Self::SMALLEST
            } else {
                Self::PIECE
            };
            let piece = KVec::with_capacity(capacity, GFP_ATOMIC)?;
            node.push(piece, GFP_ATOMIC)?;
        }
        let Some(piece) = node.last_mut() else {
            return Err(AllocError);
        };
        if piece.len() == piece.capacity() {
            move_into(piece, piece.capacity().saturating_mul(2).min(Self::PIECE))?;
        }
        piece.push_within_capacity(item).map_err(|_| AllocError)
    }

    /// Takes the last item away.
    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.nodes.last_mut()?.last_mut()?.pop()?;
        self.len = self.len.saturating_sub(1);
        self.trim();
        Some(item)
    }

    /// Frees pieces and nodes that are empty, and most of a first piece that nearly is.
    fn trim(&mut self) {
        let Some(node) = self.nodes.last_mut() else {
            return;
        };
        if let Some(piece) = node.last_mut() {
            if piece.is_empty() {
                node.pop();
            } else if self.len < Self::PIECE && piece.len().saturating_mul(4) < piece.capacity() {
                // Without memory for a smaller one it stays as it is.
                let _ = move_into(piece, (piece.capacity() / 2).max(Self::SMALLEST));
            }
        }
        if node.is_empty() {
            self.nodes.pop();
        }
        if self.nodes.is_empty() {
            self.nodes = KVec::new();
        }
    }
}

/// Gives `piece` another capacity, which is enough for what is in it.
///
/// `KVec::reserve()` would round it up to more than a slab holds.
fn move_into<T>(piece: &mut Piece<T>, capacity: usize) -> Result<(), AllocError> {
    let mut other = KVec::with_capacity(capacity, GFP_ATOMIC)?;

    for item in core::mem::take(piece) {
        other.push_within_capacity(item).map_err(|_| AllocError)?;
    }
    *piece = other;
    Ok(())
}
