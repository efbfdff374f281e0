// SPDX-License-Identifier: GPL-2.0

//! What is refused changes nothing. How each list is refused, iptables-translate has shown on the
//! host; this is that the programs which change rules do the same.

use anyhow::{ensure, Result};
use extension::Extension;

use super::Programs;

pub fn run(programs: Programs) -> Result<()> {
    let rules = ["-A INPUT -m connlimit --connlimit-above 5".to_owned()];
    programs.restore(Extension::Ours, &rules)?;
    let before = programs.save(Extension::Ours)?;
    for (options, said) in [
        (
            "--connlimit-above 5x",
            "bad value for option \"--connlimit-above\": \"5x\" is not a number",
        ),
        (
            "--connlimit-above 5 --connlimit-mask 129",
            "bad value for option \"--connlimit-mask\": \"129\" is longer than an address",
        ),
        (
            "--connlimit-mask 24",
            "You must specify \"--connlimit-above\" or \"--connlimit-upto\"",
        ),
        (
            "--connlimit-above 5 --connlimit-upto 5",
            "option \"--connlimit-upto\" cannot be used together with \"--connlimit-above\"",
        ),
    ] {
        let rule = format!("-A INPUT -m connlimit {options}");
        let words: Vec<&str> = rule.split_whitespace().collect();
        let restore = format!("*filter\n-F INPUT\n{rule}\nCOMMIT\n");
        for ended in [
            programs.run(Extension::Ours, "", &words, "")?,
            programs.run(Extension::Ours, "-restore", &[], &restore)?,
        ] {
            ensure!(
                ended.status == Some(2) && ended.message.contains(said),
                "{options}: {:?}, {}",
                ended.status,
                ended.message
            );
        }
        ensure!(programs.save(Extension::Ours)? == before, "{options}");
    }
    Ok(())
}
