// SPDX-License-Identifier: GPL-2.0

//! The kernel's search for memory that nothing points to, where it has one.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

const FILE: &str = "/sys/kernel/debug/kmemleak";

/// In how many scans in a row nothing is to point to what is reported.
const SCANS: &str = "/sys/module/kmemleak/parameters/min_unref_scans";

/// What is younger is not reported.
const AGE: Duration = Duration::from_secs(5);

pub struct Kmemleak(());

impl Kmemleak {
    /// Forgets what was found before, and has the kernel look from time to time. What it finds it logs:
    /// the tests that run just then fail.
    pub fn begin() -> Result<Option<Self>> {
        /// In seconds. A scan takes ten, so that there cannot be one after each test.
        const EVERY: &str = "scan=60";
        if !Path::new(FILE).exists() {
            return Ok(None);
        }
        for command in ["scan", "clear", EVERY] {
            fs::write(FILE, command).context(FILE)?;
        }
        Ok(Some(Self(())))
    }

    /// What has been lost since, with where it was allocated.
    pub fn found(self) -> Result<String> {
        fs::write(FILE, "scan=off").context(FILE)?;
        thread::sleep(AGE + Duration::from_secs(1));
        let scans: u32 = fs::read_to_string(SCANS).context(SCANS)?.trim().parse()?;
        // One more: the first finds what has changed since it was last looked at.
        for _ in 0..=scans {
            fs::write(FILE, "scan").context(FILE)?;
        }
        fs::read_to_string(FILE).context(FILE)
    }
}
