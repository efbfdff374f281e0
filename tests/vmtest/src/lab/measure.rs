// SPDX-License-Identifier: GPL-2.0

//! What the match says of packets, read from the counters around its rule.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use super::{Lab, Outside, Place};
use crate::decision::{Decision, Observed, Series, Verdict};
use crate::flow::Flow;
use crate::rules::Target;
use crate::system;

impl Lab {
    /// The verdict on one packet, read from the counters of the three rules.
    pub fn decide(&mut self, what: &str, flow: &Flow, packet: &[u8]) -> Result<Decision> {
        self.decide_by(what, flow, |outside| outside.send(packet, flow))
    }

    /// The verdict on one packet that `send` sends.
    pub fn decide_by(
        &mut self,
        what: &str,
        flow: &Flow,
        send: impl FnOnce(&mut Outside) -> Result<()>,
    ) -> Result<Decision> {
        let rule = self.rule.context("no rule is installed")?;
        let before = self.counters()?;
        send(&mut self.outside)?;
        let delta = self.count_since(before, 1)?;
        let goes_on = u64::from(rule.target == Target::None);
        let matched = match delta {
            [1, 1, passed] if passed == goes_on => true,
            [1, 0, 1] => false,
            [1, 0, 0] => return Ok(self.decision(what, flow, Verdict::Dropped)),
            other => bail!("{what}: the three rules counted {other:?}"),
        };
        let verdict = if matched != rule.upto {
            Verdict::Over
        } else {
            Verdict::Under
        };
        Ok(self.decision(what, flow, verdict))
    }

    fn decision(&self, what: &str, flow: &Flow, verdict: Verdict) -> Decision {
        Observed::new(
            self.module,
            format!("{what} from {}", flow.tuple.source),
            verdict,
        )
    }

    pub fn observe<T: Debug + PartialEq>(&self, what: &str, got: T) -> Observed<T> {
        Observed::new(self.module, what, got)
    }

    /// Repeats an attempt, each time for another client, until it was conclusive a few times. On
    /// a machine that has much else to do, few are.
    pub fn repeat<T: Debug + PartialEq + Clone>(
        &mut self,
        what: &str,
        clients: RangeInclusive<u16>,
        mut attempt: impl FnMut(&mut Self, u16) -> Result<Option<T>>,
    ) -> Result<Series<T>> {
        const TIMES: usize = 3;
        const USUAL: Duration = Duration::from_secs(15);
        let start = Instant::now();
        let mut values = Vec::new();
        for client in clients {
            ensure!(
                start.elapsed() < system::patience(USUAL),
                "{what}: no attempt was in time: this machine is too slow"
            );
            if let Some(value) = attempt(self, client)? {
                values.push(self.observe(what, value));
            }
            if values.len() == TIMES {
                return Ok(Series::new(values));
            }
        }
        bail!("{what}: not enough clients")
    }

    /// Sends two packets, on the CPUs given, and returns how many the rule has matched, if both
    /// came within one jiffy.
    pub fn matched_in_one_jiffy(
        &mut self,
        cpus: [usize; 2],
        packets: [&[u8]; 2],
    ) -> Result<Option<u64>> {
        let tun = self.outside.tun()?;
        let before = self.counters()?;
        let in_time = system::in_turn_within_one_jiffy(cpus, |turn| tun.send(packets[turn]))?;
        let [arrived, matched, _] = self.count_since(before, 2)?;
        ensure!(arrived == 2, "{arrived} packets arrived");
        Ok(in_time.then_some(matched))
    }

    /// What the three rules have counted since `before`, once `packets` have arrived.
    pub fn count_since(&self, before: [u64; 3], packets: u64) -> Result<[u64; 3]> {
        let mut now = before;
        // Only where softirqs are deferred to their kernel thread is there anything to wait for.
        system::wait_until("packets arrive at the rule", || {
            now = self.counters()?;
            Ok(now[0] >= before[0] + packets)
        })?;
        Ok([0, 1, 2].map(|index| now[index] - before[index]))
    }

    pub fn counters(&self) -> Result<[u64; 3]> {
        let Place {
            table,
            chain,
            first,
        } = self.place;
        let packets = self.iptables.packets(table, chain)?;
        packets
            .get(first..)
            .and_then(|rules| rules.first_chunk())
            .copied()
            .with_context(|| format!("{} has {} rules", chain.name(), packets.len()))
    }
}
