// SPDX-License-Identifier: GPL-2.0

//! The option lists.

use std::fmt;

use crate::Family;

/// What comes behind `-m connlimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    pub family: Family,
    pub words: Vec<String>,
}

impl List {
    fn new(family: Family, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            family,
            words: words.into_iter().map(Into::into).collect(),
        }
    }

    /// The value of the first of these options.
    pub fn value(&self, options: &[&str]) -> Option<&str> {
        let at = self
            .words
            .iter()
            .position(|word| options.contains(&word.as_str()))?;
        self.words.get(at + 1).map(String::as_str)
    }
}

/// As iptables-restore reads it.
impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            if word.is_empty() || word.contains(char::is_whitespace) {
                write!(f, "{space}\"{word}\"")?;
            } else {
                write!(f, "{space}{word}")?;
            }
        }
        Ok(())
    }
}

const COMPARISONS: [&[&str]; 4] = [
    &["--connlimit-upto"],
    &["!", "--connlimit-upto"],
    &["--connlimit-above"],
    &["!", "--connlimit-above"],
];
const NUMBERS: [&str; 7] = ["0", "1", "25", "010", "0x10", "4294967295", " 7"];
const SIDES: [&[&str]; 3] = [&[], &["--connlimit-saddr"], &["--connlimit-daddr"]];

fn masks(family: Family) -> &'static [&'static str] {
    match family {
        Family::Ipv4 => &[
            "",
            "0",
            "1",
            "8",
            "24",
            "31",
            "32",
            "030",
            "0x18",
            "255.255.255.0",
            "255.0.255.0",
            "0.0.0.0",
            "255.255.255.255",
        ],
        Family::Ipv6 => &[
            "",
            "0",
            "1",
            "33",
            "64",
            "127",
            "128",
            "0x40",
            "ffff:ffff::",
            "ffff::ffff",
            "::",
            "FFFF:FFFF:FFFF:FFFF::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ],
    }
}

/// Lists that make a rule: each pair of values is in some of them, and each order of the options.
pub fn good(family: Family) -> Vec<List> {
    let masks = masks(family);
    let all = COMPARISONS.len() * NUMBERS.len() * SIDES.len() * masks.len();
    // As many as can be tried, and coprime to each factor.
    const STEP: usize = 5;
    let mut lists = Vec::new();
    for index in (0..all).step_by(STEP) {
        let mut rest = index;
        let mut choose = |from: usize| {
            let chosen = rest % from;
            rest /= from;
            chosen
        };
        let mut comparison = COMPARISONS[choose(COMPARISONS.len())].to_vec();
        comparison.push(NUMBERS[choose(NUMBERS.len())]);
        let side = SIDES[choose(SIDES.len())].to_vec();
        let mask = match masks[choose(masks.len())] {
            "" => Vec::new(),
            mask => vec!["--connlimit-mask", mask],
        };
        let mut options = [comparison, side, mask];
        options.rotate_left(index % 3);
        lists.push(List::new(family, options.concat()));
    }
    // As getopt_long(3) takes them.
    lists.push(List::new(family, ["--connlimit-above=5"]));
    lists.push(List::new(
        family,
        ["--connlimit-ab", "5", "--connlimit-m", "16"],
    ));
    lists
}

const NO_NUMBERS: [&str; 25] = [
    "",
    " ",
    "-1",
    "-0",
    "+1",
    "1x",
    "x",
    "1.5",
    "1,000",
    "1e3",
    "08",
    "0x",
    "0x1g",
    "0b1",
    "25 ",
    "2 5",
    "--",
    "4294967296",
    "0x100000000",
    "040000000000",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "-4294967295",
    "%s%n",
    "\u{663}",
];

fn no_masks(family: Family) -> &'static [&'static str] {
    match family {
        Family::Ipv4 => &[
            "",
            "-1",
            "+24",
            "33",
            "64",
            "128",
            "256",
            "24x",
            "/24",
            "24/",
            "x",
            "255.255.255.256",
            "255.255.255",
            "255.255.255.0.0",
            "255.255.255.0 ",
            "0xffffff00",
            "4294967040",
            "4294967296",
            "0377.255.255.0",
            "ffff::",
            "localhost",
            "0.0.0.0/0",
        ],
        Family::Ipv6 => &[
            "",
            "-1",
            "+64",
            "129",
            "256",
            "64x",
            "/64",
            "x",
            "ffff",
            "ffff:",
            ":::",
            "ffff::1::",
            "255.255.255.0",
            "::ffff:255.255.255",
            "fe80::%lo",
            "localhost",
            "4294967296",
            "[::]",
        ],
    }
}

/// Lists that make none.
pub fn bad(family: Family) -> Vec<List> {
    let mut lists = Vec::new();
    for (index, number) in NO_NUMBERS.iter().enumerate() {
        let option = COMPARISONS[index % COMPARISONS.len()];
        lists.push(List::new(family, [option, &[number]].concat()));
    }
    for mask in no_masks(family) {
        lists.push(List::new(
            family,
            ["--connlimit-above", "5", "--connlimit-mask", mask],
        ));
    }
    for words in [
        "",
        "--connlimit-mask 24",
        "--connlimit-saddr",
        "--connlimit-above",
        "--connlimit-above 5 --connlimit-mask",
        "--connlimit-above 5 --connlimit-upto 5",
        "--connlimit-upto 5 --connlimit-above 5",
        "--connlimit-above 5 --connlimit-above 6",
        "--connlimit-above 5 --connlimit-mask 24 --connlimit-mask 24",
        "--connlimit-above 5 --connlimit-saddr --connlimit-daddr",
        "--connlimit-above 5 --connlimit-daddr --connlimit-daddr",
        "--connlimit-above 5 ! --connlimit-mask 24",
        "--connlimit-above 5 ! --connlimit-saddr",
        "! ! --connlimit-above 5",
        "--connlimit-above 5 --connlimit-saddr 10.0.0.1",
        "--connlimit-above 5 --connlimit-foo",
        "--connlimit 5",
        "--connlimit-above 5 6",
    ] {
        lists.push(List::new(family, words.split_whitespace()));
    }
    lists
}
