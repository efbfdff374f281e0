// SPDX-License-Identifier: GPL-2.0

//! Compares what both implementations have decided in the same histories.

use std::fmt::{self, Write};

use anyhow::{ensure, Result};
use fastrand::Rng;

use super::allowed::{self, Scene};
use super::coverage::Coverage;
use super::history::{Action, History};
use super::in_tree::InTree;
use super::ours::Ours;
use super::record::{Outcome, Record, Records};
use super::world::{Sighting, World};
use crate::decision::Verdict;

#[derive(Default)]
pub struct Comparison {
    pub coverage: Coverage,
    /// Each difference that nothing explains, with the history that it is from.
    pub failures: Vec<String>,
}

/// Compares what was written by ours and by in-tree.
pub fn compare(ours: &str, in_tree: &str) -> Result<Comparison> {
    let (ours, in_tree) = (Records::parse_all(ours)?, Records::parse_all(in_tree)?);
    let mut comparison = Comparison::default();
    ensure!(
        ours.len() == in_tree.len(),
        "{} histories and {}",
        ours.len(),
        in_tree.len()
    );
    for (ours, in_tree) in ours.iter().zip(&in_tree) {
        ensure!(ours.seed == in_tree.seed, "of two histories");
        let history = History::new(ours.seed);
        comparison.compare(&history, ours, in_tree)?;
        comparison.plant(&history, ours, in_tree)?;
    }
    Ok(comparison)
}

/// The same with one decision turned into its contrary, if there is any.
fn turned(history: &History, records: &Records) -> Option<Records> {
    let decided: Vec<usize> = (0..records.steps.len())
        .filter(|&number| matches!(records.steps[number].outcome, Outcome::Decided(_)))
        .collect();
    let number = *Rng::with_seed(history.seed).choice(&decided)?;
    let mut turned = records.clone();
    turned.steps[number].outcome = Outcome::Decided(match turned.steps[number].outcome {
        Outcome::Decided(Verdict::Under) => Verdict::Over,
        _ => Verdict::Under,
    });
    Some(turned)
}

/// One of the two, in the course of a history.
struct Party<'a> {
    history: &'a History,
    records: &'a [Record],
    world: World,
}

/// A packet that the rule has decided on.
struct Decision {
    sighting: Sighting,
    verdict: Verdict,
}

impl<'a> Party<'a> {
    fn new(history: &'a History, records: &'a Records) -> Result<Self> {
        ensure!(
            records.steps.len() == history.steps.len(),
            "history {} has {} steps, not {}",
            history.seed,
            records.steps.len(),
            history.steps.len()
        );
        Ok(Self {
            history,
            records: &records.steps,
            world: World::new(history),
        })
    }

    /// What was decided in a step, which begins.
    fn begin(&mut self, number: usize) -> Result<Option<Decision>> {
        let (step, record) = (&self.history.steps[number], &self.records[number]);
        self.world.begin(step);
        let expected = match step.action {
            Action::Send(packet) => {
                record.outcome != Outcome::Idle
                    && number >= self.history.older
                    && self.history.sees(&packet)
            }
            _ => false,
        };
        let sighting = self.world.sighting(self.history, step, record);
        ensure!(
            sighting.is_some() == expected,
            "{}\nstep {number}, {step}: {}",
            self.history,
            record.outcome
        );
        Ok(match (sighting, record.outcome) {
            (Some(sighting), Outcome::Decided(verdict)) => Some(Decision { sighting, verdict }),
            _ => None,
        })
    }

    fn end(&mut self, number: usize) {
        let (step, record) = (&self.history.steps[number], &self.records[number]);
        self.world.note(self.history, step, record);
    }
}

impl Comparison {
    /// Makes sure that this notices a decision that is wrong, of ours and of in-tree by turns.
    fn plant(&mut self, history: &History, ours: &Records, in_tree: &Records) -> Result<()> {
        let mut comparison = Self::default();
        let ours_is_wrong = history.seed % 2 == 0;
        let Some(turned) = turned(history, if ours_is_wrong { ours } else { in_tree }) else {
            return Ok(());
        };
        if ours_is_wrong {
            comparison.compare(history, &turned, in_tree)?;
        } else {
            comparison.compare(history, ours, &turned)?;
        }
        self.coverage.planted += 1;
        self.coverage.noticed += usize::from(!comparison.failures.is_empty());
        Ok(())
    }

    fn compare(&mut self, history: &History, ours: &Records, in_tree: &Records) -> Result<()> {
        let limit = history.rule.limit as usize;
        let mut seen = Ours::new(history.setting.hook);
        let mut lists = InTree::default();
        let mut verdicts = Vec::new();
        let mut apart = 0;
        let mut rs = Party::new(history, ours)?;
        let mut other = Party::new(history, in_tree)?;
        let mut failures = Vec::new();
        self.coverage.begin(history);
        for number in 0..history.steps.len() {
            let same = rs.world.is_same(&other.world);
            let decided = rs.begin(number)?;
            let decided_by_in_tree = other.begin(number)?;
            let list = decided_by_in_tree.as_ref().and_then(|decision| {
                lists.decide(&other.world, &decision.sighting, limit, decision.verdict)
            });
            if let (Some(Decision { verdict, .. }), None) = (&decided_by_in_tree, &list) {
                failures.push((
                    number,
                    format!("in-tree: {verdict:?}, as its source does not tell"),
                ));
            }
            if let Some(Decision { sighting, verdict }) = decided {
                verdicts.push(verdict);
                let views = seen.views(&rs.world, &sighting);
                self.coverage.see(&views);
                if !views.iter().any(|view| view.allows(verdict, limit)) {
                    failures.push((number, format!("ours is wrong: {verdict:?} with {views:?}")));
                }
                match decided_by_in_tree {
                    Some(decision) if same => {
                        self.coverage.compared += 1;
                        let reasons = list.as_ref().map(|list| {
                            let views = views.iter().copied();
                            allowed::explain(&Scene {
                                hook: history.setting.hook,
                                limit,
                                ours: verdict,
                                in_tree: decision.verdict,
                                sighting: sighting.clone(),
                                list,
                                world: &rs.world,
                                seen: &seen,
                                views: views.filter(|view| view.allows(verdict, limit)).collect(),
                            })
                        });
                        let reasons = reasons.unwrap_or_default();
                        if decision.verdict != verdict && reasons.is_empty() {
                            let why = format!(
                                "nothing explains: ours {verdict:?} with {views:?}, in-tree {:?} with {list:?}",
                                decision.verdict
                            );
                            failures.push((number, why));
                        }
                        self.coverage.differ(&reasons);
                    }
                    _ => apart += 1,
                }
                seen.note(&rs.world, &sighting, &views, verdict, limit);
            }
            rs.end(number);
            other.end(number);
            seen.look(&rs.world);
        }
        self.coverage.end(&verdicts, apart);
        for (number, why) in failures {
            self.failures
                .push(tell(history, number, &why, ours, in_tree));
        }
        Ok(())
    }
}

impl Comparison {
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.coverage.missing().is_empty()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for failure in self.failures.iter().take(SHOWN) {
            writeln!(f, "{failure}")?;
        }
        write!(f, "{}", self.coverage)?;
        for missing in self.coverage.missing() {
            writeln!(f, "too little: {missing}")?;
        }
        writeln!(
            f,
            "differences that nothing explains: {}",
            self.failures.len()
        )
    }
}

/// The history up to a step.
fn tell(history: &History, last: usize, why: &str, ours: &Records, in_tree: &Records) -> String {
    let mut text = format!("{history}\n");
    for (number, connection) in history.connections.iter().enumerate() {
        let (tuple, zone) = (connection.tuple, connection.zone);
        let _ = writeln!(
            text,
            "    connection {number}: {} to {}, zone {zone}",
            tuple.source, tuple.destination
        );
    }
    for (number, step) in history.steps.iter().enumerate().take(last + 1) {
        if number == history.older {
            text += "    the rule\n";
        }
        let _ = writeln!(
            text,
            "    {number:3} {:44} ours: {:36} in-tree: {}",
            step.to_string(),
            ours.steps[number].to_string(),
            in_tree.steps[number]
        );
    }
    text + "    " + why
}
