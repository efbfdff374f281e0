// SPDX-License-Identifier: GPL-2.0

//! What the match said of a packet, and what it should have said.

use std::fmt::Debug;
use std::panic::Location;

use anyhow::{bail, Result};

use crate::difference::Difference;
use crate::variant::Module;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not above the limit.
    Under,
    /// Above the limit.
    Over,
    /// The match itself dropped the packet (hotdrop).
    Dropped,
}

/// A value that depends on the implementation under test.
#[must_use]
#[derive(Debug)]
pub struct Observed<T> {
    what: String,
    got: T,
    module: Module,
}

/// The verdict on one packet.
pub type Decision = Observed<Verdict>;

impl<T: Debug + PartialEq> Observed<T> {
    pub fn new(module: Module, what: impl Into<String>, got: T) -> Self {
        Self {
            what: what.into(),
            got,
            module,
        }
    }

    pub fn value(self) -> T {
        self.got
    }

    /// Both implementations agree.
    #[track_caller]
    pub fn is(self, want: T) -> Result<()> {
        self.compare(&want, "")
    }

    /// They differ, for a reason that is known. In-tree must differ, or the reason is none.
    #[track_caller]
    pub fn differs(self, rs: T, in_tree: T, why: Difference) -> Result<()> {
        if rs == in_tree {
            bail!("{}: {why:?} makes no difference", Location::caller());
        }
        match self.module {
            Module::Rs => self.compare(&rs, ""),
            Module::InTree => self.compare(&in_tree, &format!(" ({why:?})")),
        }
    }

    #[track_caller]
    fn compare(&self, want: &T, why: &str) -> Result<()> {
        if self.got != *want {
            bail!(
                "{}: {}: {:?}, not {want:?}{why}",
                Location::caller(),
                self.what,
                self.got
            );
        }
        Ok(())
    }
}

/// The same of several attempts, whose timing decides what the in-tree match does.
#[must_use]
pub struct Series<T>(Vec<Observed<T>>);

impl<T: Debug + PartialEq + Clone> Series<T> {
    pub fn new(values: Vec<Observed<T>>) -> Self {
        Self(values)
    }

    #[track_caller]
    pub fn is(self, want: T) -> Result<()> {
        self.0
            .iter()
            .try_for_each(|observed| observed.compare(&want, ""))
    }

    /// Ours is right each time; in-tree differs at least once.
    #[track_caller]
    pub fn may_differ(self, rs: T, in_tree: T, why: Difference) -> Result<()> {
        let differs = |observed: &&Observed<T>| observed.got == in_tree;
        for observed in &self.0 {
            if observed.module == Module::Rs || observed.got != in_tree {
                observed.compare(&rs, "")?;
            }
        }
        match self.0.first() {
            None => bail!("{}: nothing was observed", Location::caller()),
            Some(first) if first.module == Module::Rs => Ok(()),
            Some(first) => match self.0.iter().find(differs) {
                Some(_) => Ok(()),
                None => first.compare(&in_tree, &format!(" ({why:?})")),
            },
        }
    }
}
