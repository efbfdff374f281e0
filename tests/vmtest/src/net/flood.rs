// SPDX-License-Identifier: GPL-2.0

//! New connections without end, from a thread of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{anyhow, Result};

use super::address::{self, PORT};
use super::packet;
use super::tun::Tun;
use crate::system;
use crate::variant::{Family, Path};

/// Datagrams of many clients, each with many connections, until this is stopped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    pub fn start(tun: Tun, family: Family, cpu: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&sent));
        let sender = thread::spawn(move || {
            system::pin_to_cpu(cpu)?;
            let server = address::server(family, Path::Wire);
            for number in (0_u64..).take_while(|_| !stopped.load(Ordering::Relaxed)) {
                let [port_low, port_high, client, ..] = number.to_le_bytes();
                let client = u16::from(client ^ port_low);
                let client = address::client(family, Path::Wire, client);
                // Ports from 1024 up.
                let port = u16::from_le_bytes([port_low, port_high]) | 0x400;
                let from = SocketAddr::new(client, port);
                tun.send(&packet::datagram(from, SocketAddr::new(server, PORT))?)?;
                counter.store(number + 1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self {
            stop,
            sent,
            sender: Some(sender),
        }
    }

    /// Waits until some more packets have gone in.
    pub fn goes_on(&self) -> Result<()> {
        const SOME: u64 = 20;
        let until = self.sent.load(Ordering::Relaxed) + SOME;
        system::wait_until("the flood goes on", || {
            Ok(self.sent.load(Ordering::Relaxed) >= until)
        })
    }

    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let sender = self.sender.take().ok_or_else(|| anyhow!("stopped twice"))?;
        sender.join().map_err(|_| anyhow!("the flood panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            // Where this is dropped without `stop`, the test has failed already.
            let _ = sender.join();
        }
    }
}
