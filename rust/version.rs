// SPDX-License-Identifier: GPL-2.0

//! The version that `modinfo` shows, as the file `VERSION` has it. `module!` has no field for it.

const FIELD: &[u8] = b"version=";
const VALUE: &[u8] = include_bytes!("../VERSION").trim_ascii_end();

/// With the NUL that ends an entry.
const LENGTH: usize = FIELD.len() + VALUE.len() + 1;

// As `module!` has it: by another attribute this would be in a section of its own, and the kernel takes
// no module with two of that name.
#[link_section = ".modinfo"]
#[used(compiler)]
static VERSION: [u8; LENGTH] = entry();

const fn entry() -> [u8; LENGTH] {
    let mut entry = [0; LENGTH];
    let mut index = 0;
    while index < LENGTH - 1 {
        entry[index] = if index < FIELD.len() {
            FIELD[index]
        } else {
            VALUE[index - FIELD.len()]
        };
        index += 1;
    }
    entry
}
