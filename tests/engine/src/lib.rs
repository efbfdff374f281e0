// SPDX-License-Identifier: GPL-2.0

//! The counting engine of the module, built for the host, and what its tests are made of:
//!
//! - [`world`]: a conntrack in which connections come and go.
//! - [`model`]: what the engine is to decide, by remembering everything and looking everything up.
//! - [`history`]: what happens, and a driver that lets it happen to both.

#[cfg(test)]
mod bounds;
#[path = "../../../rust/counting/mod.rs"]
mod counting;
mod hash;
pub mod history;
mod model;
mod world;
