// SPDX-License-Identifier: GPL-2.0

//! What came of a step, as a line of text: `SEED STEP OUTCOME [CONNECTION=STATE]...`

use std::fmt;

use anyhow::{bail, Context, Result};

use super::history::ConnectionId;
use crate::decision::Verdict;

/// What conntrack has of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// TCP's state; `UDP` for UDP.
    pub state: String,
    pub assured: bool,
}

impl Tracked {
    pub fn is_closed(&self) -> bool {
        matches!(self.state.as_str(), "TIME_WAIT" | "CLOSE")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do: conntrack does not know the connection.
    Idle,
    /// It was done, and is nothing that the rule sees.
    Done,
    Decided(Verdict),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub outcome: Outcome,
    /// What conntrack has afterwards of connections that may have changed.
    pub states: Vec<(ConnectionId, Option<Tracked>)>,
}

/// What is written when all of a history has been.
pub const END: &str = "end";

const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Idle, "idle"),
    (Outcome::Done, "done"),
    (Outcome::Decided(Verdict::Under), "under"),
    (Outcome::Decided(Verdict::Over), "over"),
    (Outcome::Decided(Verdict::Dropped), "dropped"),
];

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, word) = OUTCOMES
            .iter()
            .find(|(outcome, _)| outcome == self)
            .ok_or(fmt::Error)?;
        f.pad(word)
    }
}

impl fmt::Display for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let assured = if self.assured { "+" } else { "" };
        write!(f, "{}{assured}", self.state)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.outcome)?;
        for (connection, tracked) in &self.states {
            match tracked {
                Some(tracked) => write!(f, " {connection}={tracked}")?,
                None => write!(f, " {connection}=none")?,
            }
        }
        Ok(())
    }
}

fn parse_state(word: &str) -> Result<(ConnectionId, Option<Tracked>)> {
    let (connection, state) = word.split_once('=').context("not a state")?;
    let tracked = (state != "none").then(|| Tracked {
        state: state.trim_end_matches('+').to_owned(),
        assured: state.ends_with('+'),
    });
    Ok((connection.parse()?, tracked))
}

impl Record {
    fn parse(text: &str) -> Result<Self> {
        let mut words = text.split(' ');
        let word = words.next().unwrap_or_default();
        let found = OUTCOMES.iter().find(|(_, name)| *name == word);
        let (outcome, _) = found.context("not an outcome")?;
        Ok(Self {
            outcome: *outcome,
            states: words.map(parse_state).collect::<Result<_>>()?,
        })
    }
}

/// All that was written of one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    pub seed: u64,
    pub steps: Vec<Record>,
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, record) in self.steps.iter().enumerate() {
            writeln!(f, "{} {number} {record}", self.seed)?;
        }
        writeln!(f, "{} {} {END}", self.seed, self.steps.len())
    }
}

impl Records {
    /// Reads what was written of some histories, one after the other.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        let mut steps = Vec::new();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let mut next = || words.next().with_context(|| format!("cut off: {line}"));
            let (seed, number, rest) = (next()?.parse()?, next()?.parse::<usize>()?, next()?);
            if number != steps.len() {
                bail!("steps are missing before: {line}");
            }
            if rest == END {
                let steps = std::mem::take(&mut steps);
                all.push(Self { seed, steps });
            } else {
                steps.push(Record::parse(rest).with_context(|| line.to_owned())?);
            }
        }
        if !steps.is_empty() {
            bail!("the last history has no end");
        }
        Ok(all)
    }
}
