// SPDX-License-Identifier: GPL-2.0

//! Fuzzing: a corpus, what chance makes of it, in rounds that can be repeated.

pub mod bytes;
pub mod packet;
pub mod parse;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

#[derive(Args, Clone, Copy)]
pub struct Fuzzing {
    /// How long each target of fuzzing takes in all its variants together.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    fuzz_seconds: u32,
    /// Of fuzzing, repeat the round that a test has told by its seed.
    #[arg(long, value_name = "SEED")]
    fuzz_seed: Option<u64>,
}

impl Fuzzing {
    /// One of so many variants runs rounds, with one seed after the other, until its time is up. At
    /// least so many, as a seed also says which of the things to be tried comes in its round. A round
    /// returns how many inputs it had.
    pub fn rounds(
        self,
        variants: u32,
        least: u64,
        mut round: impl FnMut(u64) -> Result<u64>,
    ) -> Result<()> {
        if let Some(seed) = self.fuzz_seed {
            return round(seed).map(drop);
        }
        let end = Instant::now() + Duration::from_secs(self.fuzz_seconds.into()) / variants;
        let first = u64::from(fastrand::u32(..));
        let (mut rounds, mut inputs) = (0, 0);
        while rounds < least || Instant::now() < end {
            let seed = first + rounds;
            inputs += round(seed).with_context(|| format!("again by --fuzz-seed {seed}"))?;
            rounds += 1;
        }
        println!("{inputs} inputs in {rounds} rounds");
        Ok(())
    }

    /// How long a test may take for it.
    pub fn timeout(self) -> u64 {
        60 + u64::from(self.fuzz_seconds)
    }
}

/// An input in the form in which a failure tells it: `xxd -r -p` makes a file of it.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
