// SPDX-License-Identifier: GPL-2.0

//! Reads the rules of all sites, and their counters.

use anyhow::{bail, Result};

use super::site::Site;
use super::tally::{Tally, Work};
use super::watch::Watch;
use crate::rules::Chain;

/// What a table says that is being replaced: it has another size, it is not there, it has changed
/// since the answer began.
const CHANGING: [i32; 3] = [libc::EAGAIN, libc::ENOENT, libc::EINTR];

pub fn run(sites: &[&Site], watch: &Watch, tally: &Tally) -> Result<()> {
    while watch.goes_on() {
        for site in sites {
            let read = site
                .netns
                .within(|| site.iptables.packets("filter", Chain::Input));
            match read {
                Ok(_) => tally.note(Work::Read),
                Err(error) => {
                    let code = error
                        .downcast_ref::<std::io::Error>()
                        .and_then(std::io::Error::raw_os_error);
                    if site.is_quiet || !code.is_some_and(|code| CHANGING.contains(&code)) {
                        bail!("{}: {error:#}", site.iptables.name());
                    }
                }
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}
