// SPDX-License-Identifier: GPL-2.0

//! Workers that go on until the time is up or one of them has failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use crate::system;

pub struct Watch {
    until: Instant,
    stop: AtomicBool,
    first_failure: Mutex<Option<Error>>,
}

impl Watch {
    pub fn new(length: Duration) -> Self {
        Self {
            until: Instant::now() + length,
            stop: AtomicBool::new(false),
            first_failure: Mutex::new(None),
        }
    }

    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && Instant::now() < self.until
    }

    /// The same for a worker that may still have to do what it has to do at least once.
    pub fn goes_on_or(&self, has_not_begun: bool) -> bool {
        self.goes_on() || (has_not_begun && !self.stop.load(Ordering::Relaxed))
    }

    /// The life of a worker: where it fails, all stop.
    pub fn over(&self, worker: &str, work: impl FnOnce() -> Result<()>) {
        // The thread that started this one runs on one CPU.
        if let Err(error) = system::release_cpu().and_then(|()| work()) {
            self.first_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| error.context(worker.to_owned()));
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// What came of it.
    pub fn outcome(self) -> Result<()> {
        self.first_failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }
}
