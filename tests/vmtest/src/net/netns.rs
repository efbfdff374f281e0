// SPDX-License-Identifier: GPL-2.0

//! Network namespaces.

use std::fs::File;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sched::{setns, CloneFlags};

use super::route;

/// Moves this thread, and what it starts from now on, into a fresh network namespace.
pub fn unshare() -> Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
    route::set_up("lo")
}

/// A network namespace that lives as long as this value, a process or a socket in it.
pub struct Netns {
    handle: File,
}

impl Netns {
    pub fn current() -> Result<Self> {
        let handle = File::open("/proc/thread-self/ns/net")?;
        Ok(Self { handle })
    }

    /// The one that the machine has started with.
    pub fn initial() -> Result<Self> {
        let handle = File::open("/proc/1/ns/net")?;
        Ok(Self { handle })
    }

    pub fn try_clone(&self) -> Result<Self> {
        let handle = self.handle.try_clone()?;
        Ok(Self { handle })
    }

    /// A fresh one; this thread stays where it is.
    pub fn new() -> Result<Self> {
        let home = Self::current()?;
        unshare()?;
        let fresh = Self::current()?;
        home.enter()?;
        Ok(fresh)
    }

    /// Runs `work` inside. Sockets and devices that it makes belong to this namespace for good.
    pub fn within<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let home = Self::current()?;
        self.enter()?;
        let result = work();
        home.enter()?;
        result
    }

    pub fn enter(&self) -> Result<()> {
        setns(&self.handle, CloneFlags::CLONE_NEWNET).context("setns")
    }

    /// A name that iproute2 takes where it wants a namespace.
    pub fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.handle.as_raw_fd()
        )
    }
}
