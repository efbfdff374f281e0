// SPDX-License-Identifier: GPL-2.0

//! The kernel log, read from `/dev/kmsg`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};

pub struct KernelLog {
    device: File,
}

impl KernelLog {
    /// A log that begins now.
    pub fn from_now() -> Result<Self> {
        let mut device = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("/dev/kmsg")?;
        device.seek(SeekFrom::End(0))?;
        Ok(Self { device })
    }

    /// The lines logged since the last call.
    pub fn read(&mut self) -> Result<Vec<String>> {
        // A record is never longer than this, and one read returns one record.
        let mut record = [0; 8192];
        let mut lines = Vec::new();
        loop {
            match self.device.read(&mut record) {
                Ok(0) => return Ok(lines),
                Ok(length) => lines.push(text(&String::from_utf8_lossy(&record[..length]))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(lines),
                // Records were overwritten before they were read: go on with the oldest one left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => return Err(error).context("/dev/kmsg"),
            }
        }
    }
}

/// "priority,sequence,microseconds,flags;text", then lines of a dictionary.
fn text(record: &str) -> String {
    let line = record.lines().next().unwrap_or_default();
    line.split_once(';')
        .map_or(line, |(_, text)| text)
        .to_owned()
}

/// Whether a line tells of a defect in the kernel.
pub fn is_complaint(line: &str) -> bool {
    const COMPLAINTS: [&str; 14] = [
        "BUG:",
        "WARNING:",
        "Oops",
        "INFO: rcu",
        "INFO: task",
        "INFO: possible",
        "INFO: trying",
        "suspicious RCU",
        "general protection fault",
        "refcount_t:",
        "soft lockup",
        "unregister_netdevice: waiting",
        "still has locks held",
        "suspected memory leaks",
    ];
    COMPLAINTS.iter().any(|complaint| line.contains(complaint))
}
