// SPDX-License-Identifier: GPL-2.0

//! What a run of histories has shown, and whether it was enough to tell anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::allowed;
use super::entry::PacketKind;
use super::history::{Event, History};
use super::ours::{Known, View};
use crate::decision::Verdict;
use crate::difference::Difference;

/// From so many histories on, each row of the table of allowed differences must have been needed.
const ALL_ROWS: usize = 10_000;

/// And from so many on, there must have been connections in each state that ours may know.
const ALL_STATES: usize = 500;

#[derive(Default)]
pub struct Coverage {
    pub histories: usize,
    steps: usize,
    /// What ours has decided.
    under: usize,
    over: usize,
    /// How many histories ours has decided both in, and how many "over" in before "under".
    both: usize,
    back: usize,
    /// How many packets were compared, and how many not, as conntrack had something else.
    pub compared: usize,
    pub apart: usize,
    /// How many histories had something that was not compared.
    histories_apart: usize,
    /// Wrong decisions that were planted, and those of them that the comparison has noticed.
    pub planted: usize,
    pub noticed: usize,
    events: BTreeMap<Event, usize>,
    differences: BTreeMap<Difference, usize>,
    /// How many histories had such packets, and such connections that were known before their packet.
    kinds: BTreeMap<PacketKind, usize>,
    known: BTreeMap<&'static str, usize>,
    /// The same of one history.
    kinds_of_one: BTreeSet<PacketKind>,
    known_of_one: BTreeSet<&'static str>,
}

impl Coverage {
    pub fn begin(&mut self, history: &History) {
        self.histories += 1;
        self.steps += history.steps.len();
        for event in &history.events {
            *self.events.entry(*event).or_default() += 1;
        }
    }

    /// Takes note of a packet that ours has decided on.
    pub fn see(&mut self, views: &[View]) {
        for view in views {
            self.kinds_of_one.insert(view.kind);
            self.known_of_one.insert(view.known.name());
        }
    }

    pub fn end(&mut self, verdicts: &[Verdict], apart: usize) {
        for kind in std::mem::take(&mut self.kinds_of_one) {
            *self.kinds.entry(kind).or_default() += 1;
        }
        for known in std::mem::take(&mut self.known_of_one) {
            *self.known.entry(known).or_default() += 1;
        }
        let of = |verdict| verdicts.iter().filter(|&&it| it == verdict).count();
        self.under += of(Verdict::Under);
        self.over += of(Verdict::Over);
        let first_over = verdicts.iter().position(|&it| it == Verdict::Over);
        let is_back = |first: usize| verdicts[first..].contains(&Verdict::Under);
        self.back += usize::from(first_over.is_some_and(is_back));
        self.both += usize::from(of(Verdict::Under) > 0 && of(Verdict::Over) > 0);
        self.apart += apart;
        self.histories_apart += usize::from(apart > 0);
    }

    pub fn differ(&mut self, reasons: &[Difference]) {
        for reason in reasons {
            *self.differences.entry(*reason).or_default() += 1;
        }
    }

    /// What is missing for the run to tell anything.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut at_least = |percent: usize, part: usize, whole: usize, what: &str| {
            if part * 100 < whole * percent {
                missing.push(format!("{what}: {part} of {whole}, not {percent} %"));
            }
        };
        let decisions = self.under + self.over;
        at_least(80, self.compared, decisions, "packets compared");
        at_least(20, self.over, decisions, "packets over the limit");
        at_least(20, self.under, decisions, "packets under the limit");
        let histories = self.histories;
        at_least(60, self.both, histories, "histories with both");
        at_least(45, self.back, histories, "histories with over before under");
        at_least(95, self.noticed, self.planted, "wrong decisions noticed");
        for event in Event::ALL {
            let seen = self.events.get(&event).copied().unwrap_or_default();
            at_least(3, seen, histories, &format!("histories with {event:?}"));
        }
        for kind in PacketKind::ALL {
            let seen = self.kinds.get(&kind).copied().unwrap_or_default();
            at_least(3, seen, histories, &format!("histories with {kind:?}"));
        }
        if histories >= ALL_STATES {
            for known in Known::NAMES {
                if !self.known.contains_key(known) {
                    missing.push(format!("no connection was {known} before a packet"));
                }
            }
        }
        if histories >= ALL_ROWS {
            for difference in allowed::all() {
                if !self.differences.contains_key(&difference) {
                    missing.push(format!("{difference:?} is allowed, and never was needed"));
                }
            }
        }
        missing
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "histories: {}, of {} steps", self.histories, self.steps)?;
        let (both, back) = (self.both, self.back);
        writeln!(
            f,
            "decided by ours: {} under, {} over; both in {both} histories, first over and then under in {back}",
            self.under, self.over
        )?;
        writeln!(
            f,
            "compared: {}; not compared, as conntrack had something else: {}, in {} histories",
            self.compared, self.apart, self.histories_apart
        )?;
        let (planted, noticed) = (self.planted, self.noticed);
        writeln!(f, "wrong decisions noticed: {noticed} of {planted} planted")?;
        writeln!(f, "histories with")?;
        for (event, histories) in &self.events {
            writeln!(f, "    {event:?}: {histories}")?;
        }
        writeln!(f, "histories with packets")?;
        for (kind, histories) in &self.kinds {
            writeln!(f, "    {kind:?}: {histories}")?;
        }
        writeln!(
            f,
            "histories with packets of connections that were, or may have been"
        )?;
        for (known, histories) in &self.known {
            writeln!(f, "    {known}: {histories}")?;
        }
        writeln!(f, "differences")?;
        for (difference, times) in &self.differences {
            writeln!(f, "    {difference:?}: {times}")?;
        }
        Ok(())
    }
}
