// SPDX-License-Identifier: GPL-2.0

//! A TUN device: the outside world of a namespace, one packet at a time.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::packet::Packet;

nix::ioctl_write_int!(tun_set_iff, b'T', 202);

const DEVICE: &str = "/dev/net/tun";

pub struct Tun {
    queue: File,
}

impl Tun {
    /// Makes a TUN device in the current namespace.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_flags(name, 0)
    }

    /// The same, but what is sent waits for a poll of the device, as with network cards.
    pub fn with_napi(name: &str) -> Result<Self> {
        Self::with_flags(name, libc::IFF_NAPI)
    }

    fn with_flags(name: &str, flags: libc::c_int) -> Result<Self> {
        let queue = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(DEVICE)
            .context(DEVICE)?;

        ensure!(name.len() < libc::IFNAMSIZ, "{name} is too long");
        // SAFETY: `ifreq` is plain data, for which all zeros is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.try_into()?;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | flags).try_into()?;
        // SAFETY: TUNSETIFF reads and writes the `ifreq` that its argument points to, which
        // outlives the call.
        unsafe { tun_set_iff(queue.as_raw_fd(), (&raw mut request) as libc::c_ulong) }
            .with_context(|| format!("cannot make {name}"))?;
        Ok(Self { queue })
    }

    pub fn try_clone(&self) -> Result<Self> {
        let queue = self.queue.try_clone()?;
        Ok(Self { queue })
    }

    /// Lets a packet in. The kernel processes it, up to its delivery to a socket or its drop,
    /// before this returns.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        let written = (&self.queue).write(packet).context("TUN device")?;
        ensure!(written == packet.len(), "TUN device took {written} bytes");
        Ok(())
    }

    /// The next TCP or ICMP packet that the kernel sends out, if it comes in time.
    pub fn receive(&self, patience: Duration) -> Result<Option<Packet>> {
        while let Some(bytes) = self.read(patience)? {
            if let Some(packet) = Packet::parse(&bytes) {
                return Ok(Some(packet));
            }
        }
        Ok(None)
    }

    /// The next packet of any kind, whole.
    pub fn read(&self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; 2048];
        loop {
            match (&self.queue).read(&mut buffer) {
                Ok(length) => return Ok(Some(buffer[..length].to_vec())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut queue = [PollFd::new(self.queue.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut queue, PollTimeout::try_from(patience)?)? == 0 {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error).context("TUN device"),
            }
        }
    }
}
