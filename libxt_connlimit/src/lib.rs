// SPDX-License-Identifier: GPL-2.0

//! The connlimit extension of iptables, `libxt_connlimit.so`.
//!
//! iptables loads it when it meets `-m connlimit`, from its extension directory or `XTABLES_LIBDIR`,
//! and has it parse options, print rules and translate them for nft. `boundary` is where C calls;
//! the rest is plain Rust without `unsafe`:
//!
//! | module | concern |
//! | --- | --- |
//! | [`options`] | the options, and what each does to a rule |
//! | [`number`], [`mask`] | their values |
//! | [`rule`] | what a rule says |
//! | [`info`] | the same as the kernel takes it |
//! | [`show`] | `iptables -L` and `-S` |
//! | [`translate`] | `iptables-translate` |
//! | [`text`] | text for C, in memory of a fixed size |
//!
//! It needs neither the standard library nor memory from the heap, and depends on libc and libxtables
//! alone.

#![cfg_attr(all(feature = "boundary", not(test)), no_std)]

// With tests, and where Rust is what uses the rest, come the standard library and its panics.
#[cfg(all(feature = "boundary", not(test)))]
mod bindings;
#[cfg(all(feature = "boundary", not(test)))]
mod boundary;
#[cfg(all(feature = "boundary", not(test)))]
mod panic;

pub mod info;
pub mod mask;
pub mod number;
pub mod options;
pub mod rule;
pub mod show;
pub mod text;
pub mod translate;
