// SPDX-License-Identifier: GPL-2.0

//! Small changes to any bytes.

use fastrand::Rng;

/// What limits and signs turn at.
const WORDS: [u16; 8] = [0, 1, 2, 7, 0x7fff, 0x8000, 0xfffe, 0xffff];

/// Changes bytes from `start` on, a few times.
pub fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, start: usize) {
    for _ in 0..rng.usize(1..=4) {
        change(rng, bytes, start);
    }
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, start: usize) {
    if start >= bytes.len() {
        bytes.extend(random(rng));
        return;
    }
    let at = rng.usize(start..bytes.len());
    let end = rng.usize(at..=bytes.len());
    match rng.u8(..9) {
        0 | 1 => bytes[at] ^= 1 << rng.u8(..8),
        2 => bytes[at] = rng.u8(..),
        3 => bytes[at] = bytes[at].wrapping_add(rng.u8(..5)).wrapping_sub(2),
        4 => {
            let word = WORDS[rng.usize(..WORDS.len())].to_be_bytes();
            for (byte, value) in bytes[at..].iter_mut().zip(word) {
                *byte = value;
            }
        }
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..end)),
        7 => drop(bytes.splice(at..at, random(rng))),
        _ => {
            let copy = bytes[at..end].to_vec();
            let to = rng.usize(start..=bytes.len());
            drop(bytes.splice(to..to, copy));
        }
    }
}

fn random(rng: &mut Rng) -> Vec<u8> {
    let length = rng.usize(1..=16);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}
