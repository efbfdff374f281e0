// SPDX-License-Identifier: GPL-2.0

//! Rules as firewalls' front ends write them.

use anyhow::{ensure, Result};
use extension::Extension;

use super::Programs;

const SHAPES: [&str; 12] = [
    "-p tcp --dport http -m connlimit --connlimit-above 25 -j REJECT --reject-with tcp-reset",
    "-p tcp --syn --dport 22 -m connlimit --connlimit-above 5 -j REJECT",
    "-p tcp -m tcp --dport 80 -m connlimit --connlimit-above 20 --connlimit-mask 0 -j REJECT --reject-with tcp-reset",
    "-p tcp --syn --dport 23 -m connlimit --connlimit-upto 2 -j ACCEPT",
    "-p tcp -m tcp --dport 443 -m conntrack --ctstate NEW -m connlimit --connlimit-above 30 --connlimit-mask 24 -m comment --comment \"30 for each network\" -j DROP",
    "-m comment --comment \"before\" -p udp -m udp --dport 53 -m connlimit --connlimit-above 100 --connlimit-saddr -j DROP",
    "-p tcp -m connlimit ! --connlimit-above 7 --connlimit-daddr -m limit --limit 3/min -j LOG --log-prefix \"limit \"",
    "-p tcp -m connlimit --connlimit-above 3 -m connlimit --connlimit-above 50 --connlimit-mask 24 -j DROP",
    "-i lo -m connlimit --connlimit-above 1 -j RETURN",
    "-m state --state NEW -m connlimit --connlimit-above 10 --connlimit-mask 16 --connlimit-saddr",
    "-p tcp -m multiport --dports 80,443 -m connlimit --connlimit-above 40 -j DROP",
    "-p tcp -g OTHER -m connlimit --connlimit-above 12",
];

pub fn run(programs: Programs) -> Result<()> {
    let mut rules = vec![":OTHER - [0:0]".to_owned()];
    rules.extend(SHAPES.iter().map(|shape| format!("-A INPUT {shape}")));
    let mut seen = Vec::new();
    for extension in [Extension::Stock, Extension::Ours] {
        programs.restore(extension, &rules)?;
        let saved = programs.save(extension)?;
        ensure!(saved.len() == SHAPES.len(), "{saved:#?}");
        seen.push((saved, programs.list(extension)?));
    }
    ensure!(seen[0] == seen[1], "stock and ours: {seen:#?}");
    // What was saved is found again, one by one, as front ends delete rules.
    for rule in seen[1].0.iter().filter(|rule| !rule.contains('"')) {
        let mut words: Vec<&str> = rule.split_whitespace().collect();
        words[0] = "-D";
        programs.must(Extension::Ours, "", &words, "")?;
    }
    Ok(())
}
