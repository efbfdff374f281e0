// SPDX-License-Identifier: GPL-2.0

//! What userspace hands to the kernel and gets back, byte by byte. The rules are made by the stock
//! programs, then changed in ways in which those would not make them.

use std::io;

use anyhow::{ensure, Context, Result};

use crate::decision::Observed;
use crate::decision::Verdict::{Over, Under};
use crate::difference::Difference::UnknownFlagsAccepted;
use crate::kmsg::KernelLog;
use crate::lab::Lab;
use crate::net::address::flip_bit;
use crate::registry::Registry;
use crate::rules::{legacy, limit, nft, Chain, Limit, Ruleset, Target};
use crate::variant::{Family, FrontEnd, Module, Path, Transport, Variant};

const MATCH: &str = "connlimit";

/// `struct xt_connlimit_info`
const SIZE: usize = 32;
const MASK: std::ops::Range<usize> = 0..16;
const IPV4_UNUSED: std::ops::Range<usize> = 4..16;
const FLAGS: std::ops::Range<usize> = 20..24;
const POINTER: std::ops::Range<usize> = 24..32;

const GARBAGE: u8 = 0xa5;

pub fn register(registry: &mut Registry) {
    for variant in Variant::all().filter(|variant| variant.transport == Transport::Udp) {
        let mut add = |name: &str, scenario: fn(Module, Variant) -> Result<()>| {
            registry.add(format!("abi/{name}/{variant}"), move |module| {
                scenario(module, variant)
            });
        };
        add("pointer_is_ignored", pointer_is_ignored);
        add("nothing_leaks", nothing_leaks);
        add("mask_with_holes", mask_with_holes);
        add("limit_of_32_bits", limit_of_32_bits);
        if variant.family == Family::Ipv4 {
            add("unused_mask_bytes", unused_mask_bytes);
        }
        // Reads the kernel log.
        registry
            .add(format!("abi/unknown_flags/{variant}"), move |module| {
                unknown_flags(module, variant)
            })
            .exclusive();
    }
    for family in Family::ALL {
        registry.add(format!("abi/revisions/{family}"), move |_| {
            revisions(family)
        });
    }
}

fn lab_with(module: Module, variant: Variant, rule: Limit) -> Result<Lab> {
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    lab.install(rule)?;
    Ok(lab)
}

/// Replaces the rules of a lab by the same with other private data of the match.
fn change(lab: &Lab, change: impl Fn(&mut [u8])) -> Result<()> {
    let iptables = lab.iptables();
    match iptables.front_end {
        FrontEnd::Legacy => {
            let mut table = legacy::Table::read(iptables.family, "filter")?;
            change(table.match_info(MATCH)?.1);
            table.replace()
        }
        FrontEnd::Nft => {
            let mut rules = nft::rules(iptables.family, "filter", Chain::Input)?;
            for rule in &mut rules {
                change_nft(rule, &change)?;
            }
            iptables.command("-F INPUT")?;
            rules.iter().try_for_each(nft::Rule::append)
        }
    }
}

fn change_nft(rule: &mut nft::Rule, change: impl Fn(&mut [u8])) -> Result<()> {
    match rule.find_match(MATCH) {
        Some(mut found) => {
            change(&mut found.info);
            rule.set_match(MATCH, &found)
        }
        None => Ok(()),
    }
}

/// The revision and the private data of the match, as the kernel tells them.
fn read_back(lab: &Lab) -> Result<(u32, Vec<u8>)> {
    let iptables = lab.iptables();
    match iptables.front_end {
        FrontEnd::Legacy => {
            let mut table = legacy::Table::read(iptables.family, "filter")?;
            let (revision, info) = table.match_info(MATCH)?;
            Ok((revision.into(), info.to_vec()))
        }
        FrontEnd::Nft => {
            let rules = nft::rules(iptables.family, "filter", Chain::Input)?;
            let found = rules.iter().find_map(|rule| rule.find_match(MATCH));
            let found = found.context("no rule has the match")?;
            Ok((found.revision, found.info))
        }
    }
}

/// The number of the error, where it is one of the system.
pub fn errno(result: Result<()>) -> Result<Option<i32>> {
    match result {
        Ok(()) => Ok(None),
        Err(error) => match error.downcast_ref::<io::Error>() {
            Some(io) => Ok(io.raw_os_error()),
            None => Err(error),
        },
    }
}

/// Refused, with one line that names the bits; what was there before stays.
fn unknown_flags(module: Module, variant: Variant) -> Result<()> {
    const UNKNOWN: u32 = 0xffff_fffc;
    let mut lab = lab_with(module, variant, limit(1).target(Target::Drop))?;
    let [a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;

    let set = |info: &mut [u8]| info[FLAGS].copy_from_slice(&UNKNOWN.to_ne_bytes());
    let mut log = KernelLog::from_now()?;
    let result = match variant.front_end {
        FrontEnd::Legacy => change(&lab, set),
        FrontEnd::Nft => {
            let mut rules = nft::rules(variant.family, "filter", Chain::Input)?;
            let rule = rules.get_mut(1).context("no such rule")?;
            change_nft(rule, set)?;
            rule.append()
        }
    };
    Observed::new(module, "errno", errno(result)?).differs(
        Some(libc::EINVAL),
        None,
        UnknownFlagsAccepted,
    )?;
    let lines = log.read()?;
    let about: Vec<&String> = lines.iter().filter(|line| line.contains(MATCH)).collect();
    lab.observe(&format!("lines in {lines:?}"), about.len())
        .differs(1, 0, UnknownFlagsAccepted)?;
    if module == Module::Rs {
        let bits = format!("{UNKNOWN:x}");
        ensure!(
            about[0].to_lowercase().contains(&bits),
            "{bits} is not named: {about:?}"
        );
        lab.open(&b)?.is(Over)?;
    }
    Ok(())
}

fn pointer_is_ignored(module: Module, variant: Variant) -> Result<()> {
    let mut lab = lab_with(module, variant, limit(1).target(Target::Drop))?;
    change(&lab, |info| info[POINTER].fill(GARBAGE))?;
    let [a, b] = lab.flows();
    lab.open(&a)?.is(Under)?;
    lab.open(&b)?.is(Over)?;
    let (_, info) = read_back(&lab)?;
    ensure!(
        info[POINTER] == [0; 8],
        "the pointer reads {:?}",
        &info[POINTER]
    );
    Ok(())
}

/// Userspace gets back what it gave, and zeros for the pointer.
fn nothing_leaks(module: Module, variant: Variant) -> Result<()> {
    let rule = limit(0x0102_0304).upto().daddr().mask(16);
    let lab = lab_with(module, variant, rule)?;
    let mut expected = vec![0xff, 0xff];
    expected.resize(MASK.end, 0);
    expected.extend(rule.limit.to_ne_bytes());
    expected.extend(3_u32.to_ne_bytes());
    expected.resize(SIZE, 0);
    let (revision, info) = read_back(&lab)?;
    ensure!(revision == 1, "revision {revision}");
    ensure!(info == expected, "{info:?}, not {expected:?}");
    Ok(())
}

/// Under IPv4 twelve bytes of the mask mean nothing: not even for the key.
fn unused_mask_bytes(module: Module, variant: Variant) -> Result<()> {
    let mut lab = lab_with(module, variant, limit(1).mask(24).target(Target::Drop))?;
    change(&lab, |info| info[IPV4_UNUSED].fill(GARBAGE))?;
    let [a] = lab.flows();
    let (near, far) = (neighbour(&mut lab, 24), neighbour(&mut lab, 23));
    lab.open(&a)?.is(Under)?;
    lab.open(&near)?.is(Over)?;
    lab.open(&far)?.is(Under)
}

/// A connection of a client whose address differs in one bit.
fn neighbour(lab: &mut Lab, bit: u8) -> crate::flow::Flow {
    let [mut flow] = lab.flows();
    let address = flip_bit(flow.tuple.source.ip(), bit);
    flow.tuple.source.set_ip(address);
    flow
}

/// The second byte of the address is masked out, and so is the last.
fn mask_with_holes(module: Module, variant: Variant) -> Result<()> {
    let mut lab = lab_with(module, variant, limit(2).target(Target::Drop))?;
    let last = match variant.family {
        Family::Ipv4 => 3,
        Family::Ipv6 => 15,
    };
    change(&lab, |info| {
        info[1] = 0;
        info[last] = 0;
    })?;
    let [a] = lab.flows();
    lab.open(&a)?.is(Under)?;
    let last = u8::try_from(last)? * 8;
    for outside in [7, last - 1] {
        let flow = neighbour(&mut lab, outside);
        lab.open(&flow)?.is(Under)?;
    }
    let flow = neighbour(&mut lab, 8);
    lab.open(&flow)?.is(Under)?;
    for inside in [15, last, last + 7] {
        let flow = neighbour(&mut lab, inside);
        lab.open(&flow)?.is(Over)?;
    }
    Ok(())
}

/// The limit is a whole word, taken as unsigned. One connection is above 0 only.
fn limit_of_32_bits(module: Module, variant: Variant) -> Result<()> {
    const EXPECTED: [(Limit, u64); 5] = [
        (limit(u32::MAX), 0),
        (limit(u32::MAX).upto(), 1),
        (limit(1 << 31), 0),
        (limit(0), 1),
        (limit(0).upto(), 0),
    ];
    let mut lab = Lab::new(module, variant, Path::Wire)?;
    let rules = EXPECTED
        .iter()
        .fold(Ruleset::default(), |rules, (rule, _)| {
            rules.filter(Chain::Input, format!("-p udp {}", rule.matches()))
        });
    lab.iptables().restore(&rules)?;
    let [flow] = lab.flows();
    lab.outside.send(&flow.first()?, &flow)?;
    let packets = lab.iptables().packets("filter", Chain::Input)?;
    lab.observe("packets matched", packets)
        .is(EXPECTED.map(|(_, matched)| matched).to_vec())?;

    let saved = lab.iptables().save("filter")?;
    for option in [
        "--connlimit-above 4294967295",
        "--connlimit-upto 4294967295",
    ] {
        ensure!(saved.contains(option), "no {option} in {saved}");
    }
    Ok(())
}

/// Revision 1, and not the one before it.
fn revisions(family: Family) -> Result<()> {
    let one = errno(legacy::revision(family, MATCH, 1))?;
    ensure!(one.is_none(), "revision 1: errno {one:?}");
    let zero = errno(legacy::revision(family, MATCH, 0))?;
    ensure!(
        zero == Some(libc::EPROTONOSUPPORT),
        "revision 0: errno {zero:?}"
    );
    Ok(())
}
