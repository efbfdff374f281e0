// SPDX-License-Identifier: GPL-2.0

//! What the figures are to be.

use std::fmt::Write;

use serde::Serialize;

use crate::figures::{find, Figures, Value};

#[derive(Serialize)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub rs: Option<f64>,
    pub in_tree: Option<f64>,
    /// How many times as much in-tree takes.
    pub ratio: Option<f64>,
    pub target: String,
    /// Unknown where something was not measured.
    pub met: Option<bool>,
}

const TYPICAL: Value = |figure| figure.typical;
const MEAN: Value = |figure| figure.mean;
const WORST: Value = |figure| figure.worst;
const BYTES: Value = |figure| figure.bytes;

const INSTRUCTIONS: &str = "instructions";

struct Case<'a> {
    figures: &'a Figures,
    case: &'static str,
    what: &'static str,
    unit: &'static str,
    value: Value,
}

impl Case<'_> {
    fn rs(&self, n: u32) -> Option<f64> {
        find(&self.figures.rs, self.case, n, self.value)
    }

    fn in_tree(&self, n: u32) -> Option<f64> {
        find(&self.figures.in_tree, self.case, n, self.value)
    }

    fn row(&self, n: u32, target: impl Into<String>, met: impl Fn(f64) -> Option<bool>) -> Row {
        let (rs, in_tree) = (self.rs(n), self.in_tree(n));
        Row {
            what: format!("{}, {n}", self.what),
            unit: self.unit,
            rs,
            in_tree,
            ratio: in_tree.zip(rs).map(|(in_tree, rs)| in_tree / rs.max(1.0)),
            target: target.into(),
            met: rs.and_then(met),
        }
    }
}

pub fn rows(figures: &Figures) -> Vec<Row> {
    let case = |case, what, unit, value| Case {
        figures,
        case,
        what,
        unit,
        value,
    };
    let mut rows = Vec::new();

    let one = case(
        "new_one_key",
        "new connection, one key with so many",
        INSTRUCTIONS,
        TYPICAL,
    );
    for n in [10, 1000, 20_000, 100_000] {
        rows.push(one.row(n, "at most 1,000", |rs| Some(rs <= 1000.0)));
    }
    rows.push(one.row(100_000, "at most 1.5 x that at 10", |rs| {
        one.rs(10).map(|few| rs <= 1.5 * few)
    }));
    rows.push(one.row(20_000, "in-tree takes 1,000 x as much", |rs| {
        one.in_tree(20_000).map(|in_tree| in_tree >= 1000.0 * rs)
    }));

    let own = case(
        "new_own_key",
        "new connection, its own key, so many keys",
        INSTRUCTIONS,
        TYPICAL,
    );
    for n in [1000, 100_000, 1_000_000] {
        rows.push(own.row(n, "at most half of in-tree's", |rs| {
            own.in_tree(n).map(|in_tree| rs <= in_tree / 2.0)
        }));
    }
    rows.push(own.row(1_000_000, "at most 1.5 x that at 1,000", |rs| {
        own.rs(1000).map(|few| rs <= 1.5 * few)
    }));

    let established = case(
        "established",
        "packet of an established connection, one key with so many",
        INSTRUCTIONS,
        MEAN,
    );
    for n in [25, 200, 100_000] {
        rows.push(established.row(n, "at most 300", |rs| Some(rs <= 300.0)));
    }

    let refused = case("refused", "refused attempt, limit", INSTRUCTIONS, MEAN);
    rows.push(refused.row(25, "at most in-tree's", |rs| {
        refused.in_tree(25).map(|in_tree| rs <= in_tree)
    }));
    rows.push(refused.row(10_000, "at most 2 x that at 25", |rs| {
        refused.rs(25).map(|few| rs <= 2.0 * few)
    }));
    let longest = case(
        "refused",
        "the dearest refused attempt, limit",
        INSTRUCTIONS,
        WORST,
    );
    for n in [25, 10_000] {
        rows.push(longest.row(n, "a bounded number of look-ups", |_| None));
    }

    let memory = case(
        "memory_thousand_each",
        "memory for a connection, 1,000 in each key, so many",
        "bytes",
        BYTES,
    );
    rows.push(memory.row(100_000, "at most 24", |rs| Some(rs <= 24.0)));
    let memory = case(
        "memory_own_key",
        "memory for a key with one connection, so many keys",
        "bytes",
        BYTES,
    );
    rows.push(memory.row(100_000, "at most 128", |rs| Some(rs <= 128.0)));
    let kept = case(
        "kept_after_a_minute",
        "memory kept a minute after the end of all, so many keys",
        "% of what there was",
        |figure| Some(100.0 * figure.bytes? / figure.before?),
    );
    rows.push(kept.row(100_000, "none but what slabs keep", |rs| Some(rs < 1.0)));
    rows
}

pub fn table(rows: &[Row]) -> String {
    let number = |value: Option<f64>| match value {
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
        None => "-".to_owned(),
    };
    let mut text = String::from("| case | unit | rs | in-tree | in-tree / rs | target | met |\n");
    text += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for row in rows {
        let met = match row.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {met} |",
            row.what,
            row.unit,
            number(row.rs),
            number(row.in_tree),
            number(row.ratio),
            row.target,
        );
    }
    text
}
