// SPDX-License-Identifier: GPL-2.0

//! Network namespaces, devices, packets.

pub mod address;
pub mod flood;
pub mod fragment;
pub mod link;
pub mod loopback;
pub mod many;
pub mod netns;
pub mod nfqueue;
pub mod packet;
pub mod peer;
pub mod raw;
pub mod route;
pub mod socket;
pub mod tcp;
pub mod tun;
