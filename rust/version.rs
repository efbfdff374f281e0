// SPDX-License-Identifier: GPL-2.0

//! The version that `modinfo` shows, as the file `VERSION` has it. `module!` has no field for it.

const FIELD: &[u8] = b"version=";
const VALUE: &[u8] = include_bytes!("../VERSION").trim_ascii_end();

/// With the NUL that ends an entry.
const LENGTH: usize = FIELD.len() + VALUE.len() + 1;

#[link_section = ".modinfo"]
#[used]
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
