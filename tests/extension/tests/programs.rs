// SPDX-License-Identifier: GPL-2.0

//! The option lists, put to iptables-translate of each release, which needs no kernel: with the
//! extension that comes with it, and with ours. `RELEASES` names the directory of the releases;
//! tests/host/extension sets it.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use extension::{list, Difference, Extension, Family, List, Release};

fn directory(release: Release) -> PathBuf {
    let releases = std::env::var_os("RELEASES").expect("tests/host/extension sets RELEASES");
    PathBuf::from(releases).join(release.name())
}

struct Outcome {
    status: Option<i32>,
    output: String,
    /// Without the name and the version of the program.
    message: String,
}

fn run(
    release: Release,
    extension: Extension,
    family: Family,
    tool: &str,
    words: &[String],
) -> Outcome {
    let program = match family {
        Family::Ipv4 => format!("iptables{tool}"),
        Family::Ipv6 => format!("ip6tables{tool}"),
    };
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("chroot")
        .arg(directory(release))
        .arg(program)
        .args(words)
        .env("XTABLES_LIBDIR", extension.search_path())
        .output()
        .expect("chroot");
    let message = String::from_utf8_lossy(&stderr);
    let message = match message.split_once("): ") {
        Some((_, rest)) => rest.lines().next().unwrap_or_default(),
        None => &message,
    };
    Outcome {
        status: status.code(),
        output: String::from_utf8_lossy(&stdout).into_owned(),
        message: message.to_owned(),
    }
}

fn translate(release: Release, extension: Extension, list: &List) -> Outcome {
    let mut words: Vec<String> = ["-A", "INPUT", "-m", "connlimit"]
        .map(String::from)
        .to_vec();
    words.extend(list.words.iter().cloned());
    run(release, extension, list.family, "-translate", &words)
}

/// The translations of all lists, two lines each: a set and a rule.
fn translations(release: Release, extension: Extension, lists: &[List]) -> Vec<String> {
    let family = lists[0].family;
    let mut rules = String::from("*filter\n");
    for list in lists {
        rules += &format!("-A INPUT -m connlimit {list}\n");
    }
    rules += "COMMIT\n";
    let file = format!("{}-{extension:?}-{family:?}", release.name());
    fs::write(directory(release).join("tmp").join(&file), rules).unwrap();
    let words = ["-f".to_owned(), format!("/tmp/{file}")];
    let outcome = run(release, extension, family, "-restore-translate", &words);
    assert_eq!(outcome.status, Some(0), "{}", outcome.message);
    outcome
        .output
        .lines()
        .filter(|line| line.contains("connlimit"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn translated_alike() {
    let mut seen = HashSet::new();
    for release in Release::ALL {
        for family in Family::ALL {
            let lists = list::good(family);
            let ours = translations(release, Extension::Ours, &lists);
            let stock = translations(release, Extension::Stock, &lists);
            let pairs = ours.chunks(2).zip(stock.chunks(2));
            assert_eq!(ours.len(), 2 * lists.len());
            assert_eq!(stock.len(), 2 * lists.len());
            for (list, (ours, stock)) in lists.iter().zip(pairs) {
                let difference = Difference::translated(release, list);
                seen.extend(difference);
                assert_eq!(
                    difference.is_some(),
                    ours != stock,
                    "{release:?}: {list}\nours: {ours:?}\nstock: {stock:?}"
                );
                if difference == Some(Difference::TypeOfSet) {
                    assert_eq!(ours[0], stock[0].replace("ipv4_addr", "ipv6_addr"));
                }
            }
        }
    }
    assert_eq!(
        seen,
        HashSet::from([Difference::TypeOfSet, Difference::NetmaskWithHoles])
    );
}

#[test]
fn refused_alike() {
    let mut seen = HashSet::new();
    for release in Release::ALL {
        for family in Family::ALL {
            for list in list::bad(family) {
                let ours = translate(release, Extension::Ours, &list);
                let stock = translate(release, Extension::Stock, &list);
                let what = format!(
                    "{release:?} {family:?}: {list}\nours: {:?} {}\nstock: {:?} {}",
                    ours.status, ours.message, stock.status, stock.message
                );
                let difference = Difference::refused(release, &list);
                seen.extend(difference);
                let taken = difference.is_some_and(Difference::is_taken_by_stock);
                assert_eq!(ours.status, Some(2), "{what}");
                assert_eq!(stock.status, Some(if taken { 0 } else { 2 }), "{what}");
                assert_eq!(
                    difference.is_some(),
                    ours.message != stock.message,
                    "{what}"
                );
            }
        }
    }
    let expected = [
        Difference::Message,
        Difference::PrefixBeyondAddress,
        Difference::PartOfNetmask,
        Difference::Sign,
        Difference::Binary,
    ];
    assert_eq!(seen, HashSet::from(expected));
}

/// The same in all releases, and as somebody has read it before.
#[test]
fn as_before() {
    for (family, name) in [(Family::Ipv4, "ipv4"), (Family::Ipv6, "ipv6")] {
        let good = list::good(family);
        let mut expected = None;
        for release in Release::ALL {
            let mut text = String::new();
            for (list, lines) in good
                .iter()
                .zip(translations(release, Extension::Ours, &good).chunks(2))
            {
                text += &format!("{list}\n    {}\n    {}\n", lines[0], lines[1]);
            }
            for list in list::bad(family) {
                let outcome = translate(release, Extension::Ours, &list);
                assert!(outcome.output.is_empty(), "{list}: {}", outcome.output);
                text += &format!("{list}\n    {}\n", outcome.message);
            }
            // What bookworm itself says of a missing value has changed since.
            if let Some(expected) = &expected {
                assert_eq!(expected, &text, "{release:?}");
            }
            expected = Some(text);
        }
        insta::assert_snapshot!(name, expected.unwrap_or_default());
    }
}

#[test]
fn help_is_printed_whole() {
    for release in Release::ALL {
        for family in Family::ALL {
            let words = ["-m", "connlimit", "-h"].map(String::from);
            let outcome = run(release, Extension::Ours, family, "-translate", &words);
            assert_eq!(outcome.status, Some(0));
            let help = include_str!("../../../libxt_connlimit/src/help.txt");
            assert!(
                outcome.output.ends_with(help),
                "{release:?}: {}",
                outcome.output
            );
        }
    }
}
