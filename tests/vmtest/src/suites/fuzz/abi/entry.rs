// SPDX-License-Identifier: GPL-2.0

//! What a rule is made of, and what is to come of it.

use std::ops::Range;

use fastrand::Rng;
use include_dir::{include_dir, Dir};
use nix::errno::Errno;

use crate::fuzz::bytes;

static CORPUS: Dir = include_dir!("$CARGO_MANIFEST_DIR/../corpus/abi");

/// An input: a byte for the place, then `struct xt_entry_match`, the private data last.
const SIZE: Range<usize> = 1..3;
const NAME: Range<usize> = 3..32;
const REVISION: usize = 32;
const INFO: usize = 33;

/// In the private data.
const FLAGS: Range<usize> = 20..24;
const POINTER: usize = 24;
const INFO_SIZE: usize = 32;

const CONNLIMIT: &[u8] = b"connlimit";
const KNOWN_FLAGS: u32 = 3;

/// The alignment of matches.
const ALIGNMENT: usize = 8;
/// `struct xt_entry_match` without the private data.
const HEADER: usize = INFO - SIZE.start;

pub fn corpus() -> Vec<&'static [u8]> {
    let mut files: Vec<_> = CORPUS.files().collect();
    // The order of a directory is none.
    files.sort_by_key(|file| file.path());
    files.into_iter().map(|file| file.contents()).collect()
}

/// Mostly what only the match itself looks at. For a name or a revision that nobody has, the kernel
/// starts modprobe, which takes long.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>) {
    const SIZES: [u16; 10] = [0, 31, 32, 56, 63, 64, 65, 72, 96, 0xffff];
    input.resize(input.len().max(INFO), 0);
    input[0] = rng.u8(..);
    match rng.u8(..40) {
        0 => input[rng.usize(NAME)] = rng.u8(..),
        1 => input[REVISION] = rng.u8(..),
        2 | 3 => input[SIZE].copy_from_slice(&SIZES[rng.usize(..SIZES.len())].to_ne_bytes()),
        4..=9 => bytes::mutate(rng, input, INFO),
        _ => {
            let mut info: Vec<u8> = (0..INFO_SIZE).map(|_| rng.u8(..)).collect();
            if rng.u8(..8) > 0 {
                info[FLAGS].copy_from_slice(&rng.u32(..=KNOWN_FLAGS).to_ne_bytes());
            }
            input.splice(INFO..input.len().min(INFO + INFO_SIZE), info);
        }
    }
}

/// A match of the kernel's list of them.
#[derive(Clone, Debug)]
pub struct One {
    pub name: Vec<u8>,
    pub revision: u8,
    pub info: Vec<u8>,
}

impl One {
    /// What the kernel says to it.
    fn check(&self) -> Result<(), Errno> {
        if self.name != CONNLIMIT || self.revision != 1 {
            return Err(Errno::ENOENT);
        }
        if self.info.len() != INFO_SIZE {
            return Err(Errno::EINVAL);
        }
        let flags = self.info[FLAGS].iter().rev();
        let flags = flags.fold(0, |word, &byte| (word << 8) | u32::from(byte));
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// The private data as they are read back: the pointer is the kernel's own.
    pub fn read_back(mut self) -> Vec<u8> {
        self.info[POINTER..].fill(0);
        self.info
    }
}

pub struct Entry<'a>(&'a [u8]);

impl<'a> Entry<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub fn place(&self) -> usize {
        self.0.first().copied().unwrap_or_default().into()
    }

    /// As ip_tables gets it, which wants it aligned.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.get(SIZE.start..).unwrap_or_default().to_vec();
        let length = bytes.len().max(HEADER).next_multiple_of(ALIGNMENT);
        bytes.resize(length, 0);
        bytes
    }

    /// The matches that ip_tables finds in there, if it takes them.
    pub fn legacy(&self) -> Result<Vec<One>, Errno> {
        let bytes = self.bytes();
        let mut rest = &bytes[..];
        let mut all = Vec::new();
        while !rest.is_empty() {
            let Some(&[low, high]) = rest.first_chunk() else {
                return Err(Errno::EINVAL);
            };
            let size = usize::from(u16::from_ne_bytes([low, high]));
            if size < HEADER || size > rest.len() || size % ALIGNMENT != 0 {
                return Err(Errno::EINVAL);
            }
            let (bytes, behind) = rest.split_at(size);
            all.push(bytes);
            rest = behind;
        }
        all.into_iter()
            .map(|bytes| {
                let name = &bytes[NAME.start - SIZE.start..NAME.end - SIZE.start];
                let end = name.iter().position(|&byte| byte == 0);
                let one = One {
                    name: name[..end.ok_or(Errno::EINVAL)?].to_vec(),
                    revision: bytes[REVISION - SIZE.start],
                    info: bytes[HEADER..].to_vec(),
                };
                one.check().map(|()| one)
            })
            .collect()
    }

    /// What nf_tables gets, which knows nothing of the size, and whether it takes it.
    pub fn nft(&self) -> (One, Result<(), Errno>) {
        let bytes = self.bytes();
        let name = &bytes[NAME.start - SIZE.start..NAME.end - SIZE.start];
        let one = One {
            name: name
                .split(|&byte| byte == 0)
                .next()
                .unwrap_or_default()
                .to_vec(),
            revision: bytes[REVISION - SIZE.start],
            info: self.0.get(INFO..).unwrap_or_default().to_vec(),
        };
        let verdict = one.check();
        (one, verdict)
    }
}
