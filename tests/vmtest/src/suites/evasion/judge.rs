// SPDX-License-Identifier: GPL-2.0

//! Judges what is open at a site: by what the server's sockets tell, and by what answers them.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use super::site::Site;
use crate::conntrack::{self, Tuple};
use crate::decision::Observed;
use crate::net::packet::{Flags, Segment};
use crate::net::peer::Peer;
use crate::system;
use crate::variant::Transport;

impl Site {
    /// Which connections answer: a byte that the server sends arrives, and what tells so comes back
    /// to the server.
    pub fn alive(&mut self) -> Result<BTreeSet<SocketAddr>> {
        /// As long as the server takes to send again twice.
        const USUAL: Duration = Duration::from_millis(1000);
        self.alive_within(USUAL)
    }

    /// The same where not all of them need have the time to answer.
    pub fn alive_within(&mut self, usual: Duration) -> Result<BTreeSet<SocketAddr>> {
        self.server.call()?;
        let start = Instant::now();
        loop {
            for (segment, data) in self.hear()? {
                if data > 0 {
                    self.send(&acknowledgment(&segment, data)?)?;
                }
            }
            self.wire.carry(|_| true)?;
            self.release()?;
            let [answered, waiting] = self.server.answered()?;
            if waiting.is_empty() || start.elapsed() > system::patience(usual) {
                return Ok(answered);
            }
        }
    }

    /// How many were let in, how many of those answer, and how many do in all.
    pub fn outcome(&mut self, admitted: &[Peer]) -> Result<Observed<[usize; 3]>> {
        self.settle()?;
        let alive = self.alive()?;
        let of_these = admitted.iter().filter(|peer| alive.contains(&peer.from));
        let outcome = [admitted.len(), of_these.count(), alive.len()];
        Ok(self.observe("let in, answering of these, answering in all", outcome))
    }

    /// Sends data of a client. Returns whether the server takes it. If not, the client will send it
    /// again.
    pub fn takes_data(&self, peer: &mut Peer) -> Result<bool> {
        let before = *peer;
        self.send(&peer.data(b"data")?)?;
        let heard = self.hear()?;
        let taken = heard
            .iter()
            .any(|(segment, _)| segment.to == peer.from && segment.acknowledgment == peer.next);
        if !taken {
            *peer = before;
        }
        Ok(taken)
    }

    /// The same for each of these. Returns how many it takes data of.
    pub fn count_data_taken(&self, peers: &mut [Peer]) -> Result<usize> {
        let mut taken = 0;
        for peer in peers {
            taken += usize::from(self.takes_data(peer)?);
        }
        Ok(taken)
    }

    /// How many of these answer, among all that do.
    pub fn count_alive(&mut self, peers: &[Peer]) -> Result<Observed<usize>> {
        let alive = self.alive()?;
        let of_these = peers.iter().filter(|peer| alive.contains(&peer.from));
        Ok(self.observe("those let in that answer", of_these.count()))
    }

    /// Whether the server waits for the last ACK of some connection.
    pub fn has_last_ack(&self) -> Result<bool> {
        let has = || {
            let files = ["tcp", "tcp6"];
            let mut found = false;
            for file in files {
                let sockets = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
                // The fourth word of a line is the state.
                found |= sockets
                    .lines()
                    .any(|line| line.split_whitespace().nth(3) == Some("09"));
            }
            Ok(found)
        };
        match &self.far {
            Some(far) => far.within(has),
            None => has(),
        }
    }

    pub fn observe<T: Debug + PartialEq>(&self, what: &str, got: T) -> Observed<T> {
        Observed::new(self.module, what, got)
    }

    /// What conntrack has of a connection.
    pub fn state(&self, peer: &Peer) -> Result<Option<(String, bool)>> {
        let entry = conntrack::find(&Tuple {
            transport: Transport::Tcp,
            source: peer.from,
            destination: peer.to,
        })?;
        Ok(entry.map(|entry| (entry.state, entry.assured)))
    }

    /// Checks that the test has brought about what it means to test.
    pub fn check_state(&self, peer: &Peer, state: &str, assured: bool) -> Result<()> {
        let found = self.state(peer)?;
        let found = found.with_context(|| format!("conntrack does not have {}", peer.from))?;
        ensure!(
            found == (state.to_owned(), assured),
            "conntrack has {} as {found:?}, not {state}, assured: {assured}",
            peer.from
        );
        Ok(())
    }
}

/// What a client sends back for data.
fn acknowledgment(segment: &Segment, data: usize) -> Result<Vec<u8>> {
    Segment {
        from: segment.to,
        to: segment.from,
        flags: Flags::ACK,
        sequence: segment.acknowledgment,
        acknowledgment: segment.sequence.wrapping_add(data.try_into()?),
    }
    .bytes()
}
