// SPDX-License-Identifier: GPL-2.0

//! What people are told to type does what it says, as far as making the rule goes; and what the
//! rules are translated to is what nft takes.

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use extension::{list, Extension, Release};

use super::Programs;
use crate::registry::Registry;
use crate::system;
use crate::variant::{Family, FrontEnd};

const MANUAL: &str = include_str!("../../../../../libxt_connlimit/libxt_connlimit.8");
const HELP: &str = include_str!("../../../../../libxt_connlimit/src/help.txt");

/// `XTABLES_LIBDIR` for the programs of this system, which are those of trixie.
const OURS_FIRST: &str = "/root/releases/trixie/extension:/usr/lib/x86_64-linux-gnu/xtables";

pub fn register(registry: &mut Registry) {
    for front_end in FrontEnd::ALL {
        registry.add(format!("extension/manual/{front_end}"), move |_| {
            manual(front_end)
        });
        registry.add(format!("extension/help/{front_end}"), move |_| {
            help(front_end)
        });
    }
    for family in Family::ALL {
        registry.add(
            format!("extension/nft_takes_translation/{family}"),
            move |_| nft_takes_translation(family),
        );
        registry.add(format!("extension/nft_lists/{family}"), move |_| {
            nft_lists(family)
        });
    }
}

/// The commands are for the programs of this system, so that the shell finds ipset as well.
fn shell(front_end: FrontEnd, command: &str) -> Result<()> {
    let command = command
        .replacen("ip6tables ", &format!("ip6tables-{front_end} "), 1)
        .replacen("iptables ", &format!("iptables-{front_end} "), 1);
    let lock = format!("/run/xtables-{}.lock", std::process::id());
    system::run_with_env(
        "sh",
        &["-ec", &command],
        "",
        &[("XTABLES_LIBDIR", OURS_FIRST), ("XTABLES_LOCKFILE", &lock)],
    )
    .map(drop)
}

fn manual(front_end: FrontEnd) -> Result<()> {
    let mut commands = 0;
    let mut example = false;
    for line in MANUAL.lines() {
        match line {
            ".EX" => example = true,
            ".EE" => example = false,
            command if example => {
                shell(front_end, command)?;
                commands += 1;
            }
            _ => {}
        }
    }
    ensure!(commands >= 10, "{commands} commands");
    Ok(())
}

fn help(front_end: FrontEnd) -> Result<()> {
    // In passing, the help has it in brackets.
    let set = "ipset create offenders hash:ip timeout 600";
    ensure!(HELP.contains(set));
    shell(front_end, set)?;
    let commands = || {
        HELP.lines()
            .map(str::trim)
            .filter(|line| line.starts_with("iptables") || line.starts_with("ip6tables"))
    };
    for command in commands() {
        shell(front_end, command)?;
    }
    ensure!(commands().count() >= 8, "{HELP}");
    Ok(())
}

fn nft_takes_translation(family: Family) -> Result<()> {
    for release in Release::ALL {
        let programs = Programs::new(release, FrontEnd::Nft, family);
        let mut rules = String::from("*filter\n:INPUT ACCEPT [0:0]\n");
        for list in list::good(programs.lists()) {
            rules += &format!("-A INPUT -m connlimit {list} -j DROP\n");
        }
        rules += "COMMIT\n";
        let file = format!("tmp/{family}");
        let path = Path::new("/root/releases").join(release.name()).join(&file);
        fs::write(&path, rules)?;
        let script = programs.restore_translate(Extension::Ours, &format!("/{file}"))?;
        ensure!(script.matches("@connlimit").count() > 200, "{script}");
        system::run("nft", &["-c", "-f", "-"], &script).with_context(|| format!("{release:?}"))?;
    }
    Ok(())
}

/// nft asks the extension what to print for the rules that iptables has made. A translation without
/// the set that it names would be a dump that nobody can load, and that seems whole.
fn nft_lists(family: Family) -> Result<()> {
    let programs = Programs::new(Release::Trixie, FrontEnd::Nft, family);
    let rule = "-A INPUT -p tcp -m connlimit --connlimit-above 25 -j DROP";
    programs.restore(Extension::Ours, &[rule.to_owned()])?;
    let stock = system::run("nft", &["list", "ruleset"], "")?;
    ensure!(stock.contains("xt match \"connlimit\""), "{stock}");
    let path = [("XTABLES_LIBDIR", OURS_FIRST)];
    let ours = system::run_with_env("nft", &["list", "ruleset"], "", &path)?;
    ensure!(ours == stock, "ours: {ours}\nstock: {stock}");
    Ok(())
}
