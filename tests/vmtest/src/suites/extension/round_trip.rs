// SPDX-License-Identifier: GPL-2.0

//! iptables-save | iptables-restore, with 1,000 rules.

use anyhow::{ensure, Result};
use extension::{list, Extension};

use super::Programs;

const RULES: usize = 1000;

pub fn run(programs: Programs) -> Result<()> {
    let lists = list::good(programs.lists());
    let rules: Vec<String> = (0..RULES)
        .map(|number| {
            let list = &lists[number % lists.len()];
            format!("-A INPUT -p tcp --dport {number} -m connlimit {list} -j DROP")
        })
        .collect();
    programs.restore(Extension::Ours, &rules)?;
    let saved = programs.save(Extension::Ours)?;
    ensure!(saved.len() == RULES, "{} rules", saved.len());
    programs.restore(Extension::Ours, &saved)?;
    let again = programs.save(Extension::Ours)?;
    if let Some((again, saved)) = again
        .iter()
        .zip(&saved)
        .find(|(again, saved)| again != saved)
    {
        anyhow::bail!("{saved}\nbecame {again}");
    }
    ensure!(again.len() == RULES, "{} rules", again.len());
    Ok(())
}
