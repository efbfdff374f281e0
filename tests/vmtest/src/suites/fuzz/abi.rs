// SPDX-License-Identifier: GPL-2.0

//! Rules whose bytes were not made by iptables: taken or refused as they are to be, and read back as
//! they were given.

mod entry;

use anyhow::{ensure, Context, Result};
use fastrand::Rng;
use nix::errno::Errno;

use self::entry::Entry;
use super::VARIANTS;
use crate::fuzz::{Fuzzing, Hex};
use crate::lab::Lab;
use crate::net::netns::Netns;
use crate::rules::nft::{self, Match};
use crate::rules::{blob, legacy, Chain, Iptables, Ruleset};
use crate::suites::abi::errno;
use crate::variant::{FrontEnd, Module, Path, Variant};

const MATCH: &str = "connlimit";

const TABLES: [&str; 3] = ["filter", "mangle", "raw"];
const PLACES: [(&str, Chain); 9] = [
    ("filter", Chain::Input),
    ("filter", Chain::Forward),
    ("filter", Chain::Output),
    ("mangle", Chain::Prerouting),
    ("mangle", Chain::Input),
    ("mangle", Chain::Forward),
    ("mangle", Chain::Output),
    ("raw", Chain::Prerouting),
    ("raw", Chain::Output),
];

/// How many entries are made by chance in a round, and how many rules there are at once.
const ENTRIES: usize = 100;
const RULES: usize = 8;

pub fn fuzz(module: Module, variant: Variant, fuzzing: Fuzzing) -> Result<()> {
    fuzzing.rounds(VARIANTS, 1, |seed| {
        let mut rng = Rng::with_seed(seed);
        let mut round = || round(module, variant, &mut rng);
        Netns::new()?.within(&mut round)
    })
}

fn round(module: Module, variant: Variant, rng: &mut Rng) -> Result<u64> {
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    let mut rules = Rules::new(lab.iptables())?;
    let corpus = entry::corpus();
    let mut inputs: Vec<_> = corpus.iter().map(|input| input.to_vec()).collect();
    for _ in 0..ENTRIES {
        let mut input = corpus[rng.usize(..corpus.len())].to_vec();
        entry::mutate(rng, &mut input);
        inputs.push(input);
    }
    let mut taken = 0;
    for input in &inputs {
        let put = rules.put(&Entry::new(input));
        taken += usize::from(put.with_context(|| format!("input {}", Hex(input)))?);
        if rules.number >= RULES {
            // Whatever they are, packets come upon them.
            for mut flow in lab.flows::<3>() {
                lab.outside.send(&flow.first()?, &flow)?;
                lab.answer(&mut flow)?;
            }
            rules.clear()?;
        }
    }
    rules.clear()?;
    // Else nothing has been tried.
    let (most, few) = (inputs.len() * 9 / 10, inputs.len() / 3);
    ensure!((few..most).contains(&taken), "{taken} of {}", inputs.len());
    Ok(inputs.len().try_into()?)
}

struct Rules {
    iptables: Iptables,
    /// The tables of ip_tables as they are without.
    empty: Vec<legacy::Table>,
    number: usize,
}

impl Rules {
    fn new(iptables: Iptables) -> Result<Self> {
        let mut empty = Vec::new();
        match iptables.front_end {
            FrontEnd::Legacy => {
                for table in TABLES {
                    empty.push(legacy::Table::read(iptables.family, table)?);
                }
            }
            FrontEnd::Nft => {
                // A chain is made for its first rule.
                let rules = PLACES.into_iter();
                let rules = rules.fold(Ruleset::default(), |rules, (table, chain)| {
                    rules.append(table, chain, "")
                });
                iptables.restore(&rules)?;
            }
        }
        let mut rules = Self {
            iptables,
            empty,
            number: 0,
        };
        rules.clear()?;
        Ok(rules)
    }

    /// Tries to make a rule, and says whether there is one.
    fn put(&mut self, entry: &Entry) -> Result<bool> {
        let taken = match self.iptables.front_end {
            FrontEnd::Legacy => self.put_legacy(entry)?,
            FrontEnd::Nft => self.put_nft(entry)?,
        };
        self.number += usize::from(taken);
        Ok(taken)
    }

    fn put_legacy(&self, entry: &Entry) -> Result<bool> {
        let family = self.iptables.family;
        let (table, chain) = PLACES[entry.place() % PLACES.len()];
        let before = legacy::Table::read(family, table)?;
        let mut changed = before.clone();
        changed.insert(chain, &blob::rule(family, &entry.bytes())?)?;
        let expected = entry.legacy();
        check(changed.replace(), expected.as_ref().map(drop))?;

        let after = legacy::Table::read(family, table)?;
        let Ok(matches) = expected else {
            // The kernel itself sends packets of IPv6.
            let same = after.uncounted()? == before.uncounted()?;
            ensure!(same, "the rules have changed");
            return Ok(false);
        };
        let mut want = before.match_infos(MATCH)?;
        want.extend(
            matches
                .into_iter()
                .map(|one| (one.revision, one.read_back())),
        );
        let mut got = after.match_infos(MATCH)?;
        // Where it is among the others depends on its chain.
        want.sort_unstable();
        got.sort_unstable();
        ensure!(got == want, "read back as {got:x?}, not {want:x?}");
        Ok(true)
    }

    fn put_nft(&self, entry: &Entry) -> Result<bool> {
        let family = self.iptables.family;
        let (table, chain) = PLACES[entry.place() % PLACES.len()];
        let rule = |name: &[u8], revision: u8, info: Vec<u8>| {
            let of = Match {
                revision: revision.into(),
                info,
            };
            nft::Rule::of_match(family, table, chain, name, &of)
        };
        let mut want = nft::rules(family, table, chain)?;
        let (one, expected) = entry.nft();
        let made = rule(&one.name, one.revision, one.info.clone()).append();
        check(made, expected.as_ref().map(drop))?;
        if expected.is_ok() {
            want.push(rule(MATCH.as_bytes(), one.revision, one.read_back()));
        }
        let got = nft::rules(family, table, chain)?;
        ensure!(got == want, "read back as {got:x?}, not {want:x?}");
        Ok(expected.is_ok())
    }

    fn clear(&mut self) -> Result<()> {
        self.empty.iter().try_for_each(legacy::Table::replace)?;
        if self.iptables.front_end == FrontEnd::Nft {
            nft::flush(self.iptables.family, &PLACES)?;
        }
        self.number = 0;
        Ok(())
    }
}

fn check(got: Result<()>, expected: Result<(), &Errno>) -> Result<()> {
    let got = errno(got)?.map(Errno::from_raw);
    let expected = expected.err().copied();
    ensure!(got == expected, "{got:?}, not {expected:?}");
    Ok(())
}
