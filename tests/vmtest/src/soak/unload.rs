// SPDX-License-Identifier: GPL-2.0

//! The module goes and comes again.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use nix::errno::Errno;

use super::tally::{Tally, Work};
use super::watch::Watch;
use crate::module;
use crate::net::netns;
use crate::rules::{limit, Chain, Iptables, Ruleset};
use crate::system;
use crate::variant::{Family, FrontEnd, Module};

/// The kernel takes namespaces apart when it finds the time.
const PATIENCE: Duration = Duration::from_secs(60);

fn rules() -> Ruleset {
    let rule = format!("{} -j DROP", limit(1).matches());
    Ruleset::default().filter(Chain::Input, rule)
}

/// While there are rules the module stays.
pub fn is_refused(watch: &Watch, tally: &Tally) -> Result<()> {
    while watch.goes_on() {
        let refused = module::unload(Module::Rs);
        ensure!(refused == Err(Errno::EWOULDBLOCK), "unload: {refused:?}");
        tally.note(Work::UnloadRefused);
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Where there are none it goes, and no rule can be made until it is back; in-tree's does not come
/// in its place.
pub fn between_rules(tally: &Tally) -> Result<()> {
    system::wait_for(PATIENCE, "no rule uses the module", || {
        Ok(module::users(Module::Rs)? == 0)
    })?;
    module::unload(Module::Rs).context("unload")?;
    for front_end in FrontEnd::ALL {
        let family = Family::Ipv4;
        let made = Iptables { family, front_end }.restore(&rules());
        ensure!(made.is_err(), "{front_end}: a rule without the module");
        tally.note(Work::RuleTooLate);
    }
    ensure!(!module::is_loaded(Module::InTree), "in-tree's is loaded");
    module::load(Module::Rs)?;
    tally.note(Work::Unloaded);
    Ok(())
}

/// Goes and comes as often as it can.
pub fn again_and_again(watch: &Watch, tally: &Tally) -> Result<()> {
    while watch.goes_on() {
        match module::unload(Module::Rs) {
            Ok(()) => {
                // Long enough for somebody to miss it.
                thread::sleep(Duration::from_millis(20));
                module::load(Module::Rs)?;
                tally.note(Work::Unloaded);
            }
            Err(Errno::EWOULDBLOCK) => {}
            Err(error) => bail!("unload: {error}"),
        }
        thread::yield_now();
    }
    Ok(())
}

/// Meanwhile somebody makes a rule, sends packets through it and takes it away.
pub fn rules_meanwhile(front_end: FrontEnd, watch: &Watch, tally: &Tally) -> Result<()> {
    netns::unshare()?;
    let family = Family::Ipv4;
    let iptables = Iptables { family, front_end };
    let mut made = 0;
    while watch.goes_on_or(made == 0) {
        if iptables.restore(&rules()).is_ok() {
            tally.note(Work::RuleInTime);
            made += 1;
            for _ in 0..10 {
                UdpSocket::bind("127.0.0.1:0")?.send_to(b"datagram", "127.0.0.2:7")?;
            }
            iptables.restore(&Ruleset::empty())?;
        } else {
            tally.note(Work::RuleTooLate);
        }
        // The module can go only where there is a pause.
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
