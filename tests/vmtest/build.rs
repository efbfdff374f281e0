// SPDX-License-Identifier: GPL-2.0

//! Has cargo notice inputs that are new.

fn main() {
    println!("cargo:rerun-if-changed=../corpus/abi");
    println!("cargo:rerun-if-changed=../corpus/packets");
}
