// SPDX-License-Identifier: GPL-2.0

//! How much there is room for in conntrack. That is the same for all network namespaces, and only the
//! first one can change it: for tests that run alone.

use std::fs;

use anyhow::{Context, Result};

use crate::net::link;
use crate::net::netns::Netns;

const MAX: &str = "net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "net/netfilter/nf_conntrack_buckets";

/// What was set is set back when this is dropped.
pub struct ConntrackSize {
    before: [(&'static str, String); 2],
}

impl ConntrackSize {
    /// How many connections each namespace may have, and how many chains they are in.
    pub fn set(max: u32, buckets: u32) -> Result<Self> {
        Netns::initial()?.within(|| {
            let before = [(MAX, get(MAX)?), (BUCKETS, get(BUCKETS)?)];
            let size = Self { before };
            link::sysctl(BUCKETS, &buckets.to_string())?;
            link::sysctl(MAX, &max.to_string())?;
            Ok(size)
        })
    }
}

fn get(name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}"));
    Ok(text
        .with_context(|| format!("sysctl {name}"))?
        .trim()
        .to_owned())
}

impl Drop for ConntrackSize {
    fn drop(&mut self) {
        let restore = || {
            let set = |(name, value): &(&str, String)| link::sysctl(name, value);
            self.before.iter().try_for_each(set)
        };
        // Later tests would say so.
        let _ = Netns::initial().and_then(|netns| netns.within(restore));
    }
}
