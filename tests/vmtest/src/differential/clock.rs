// SPDX-License-Identifier: GPL-2.0

//! Jiffies, as userspace can tell them: they change at multiples of their length of the monotonic
//! clock.

use std::thread;
use std::time::Duration;

use anyhow::{ensure, Result};
use nix::time::{clock_gettime, ClockId};

use crate::system::{self, jiffy};

/// How long the tick may take to be noticed, and how long before the next one is too late.
const MARGIN: Duration = Duration::from_micros(200);

/// The number of a jiffy since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jiffy(u128);

fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// Makes sure that the tick comes when this says that it does.
pub fn check() -> Result<()> {
    let before = system::last_tick()?;
    while system::last_tick()? == before {
        std::hint::spin_loop();
    }
    let jiffy = jiffy()?;
    let phase = now()?.as_nanos() % jiffy.as_nanos();
    ensure!(
        phase < MARGIN.as_nanos(),
        "jiffies change {phase} ns after a multiple of {jiffy:?}"
    );
    Ok(())
}

impl Jiffy {
    /// Waits until one has just begun.
    pub fn next() -> Result<Self> {
        let (now, jiffy) = (now()?, jiffy()?);
        let next = Self(now.as_nanos() / jiffy.as_nanos() + 1);
        let begins = jiffy * u32::try_from(next.0)?;
        thread::sleep(begins + MARGIN - now);
        Ok(next)
    }

    /// Whether it goes on.
    pub fn lasts(self) -> Result<bool> {
        Ok((now()? + MARGIN).as_nanos() / jiffy()?.as_nanos() == self.0)
    }
}
