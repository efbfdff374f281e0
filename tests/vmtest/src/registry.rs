// SPDX-License-Identifier: GPL-2.0

//! The list of all tests.

use std::time::Duration;

use anyhow::Result;

use crate::variant::Module;

pub type Body = Box<dyn Fn(Module) -> Result<()>>;

pub struct Case {
    pub name: String,
    pub timeout: Duration,
    /// Run while no other test runs: it unloads the module, reads the kernel log for itself, or
    /// takes both CPUs.
    pub exclusive: bool,
    /// Run only when asked for.
    pub slow: bool,
    /// For the debug kernel only.
    pub debug: bool,
    pub body: Body,
}

impl Case {
    pub fn exclusive(&mut self) -> &mut Self {
        self.exclusive = true;
        self
    }

    pub fn slow(&mut self) -> &mut Self {
        self.slow = true;
        self
    }

    pub fn debug(&mut self) -> &mut Self {
        self.debug = true;
        self
    }

    pub fn timeout(&mut self, seconds: u64) -> &mut Self {
        self.timeout = Duration::from_secs(seconds);
        self
    }
}

#[derive(Default)]
pub struct Registry {
    cases: Vec<Case>,
}

impl Registry {
    const TIMEOUT: Duration = Duration::from_secs(60);

    pub fn add(
        &mut self,
        name: impl Into<String>,
        body: impl Fn(Module) -> Result<()> + 'static,
    ) -> &mut Case {
        self.cases.push(Case {
            name: name.into(),
            timeout: Self::TIMEOUT,
            exclusive: false,
            slow: false,
            debug: false,
            body: Box::new(body),
        });
        self.cases.last_mut().expect("just pushed")
    }

    pub fn into_cases(self) -> Vec<Case> {
        self.cases
    }
}
