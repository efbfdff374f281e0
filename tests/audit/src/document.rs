// SPDX-License-Identifier: GPL-2.0

//! What the documentation says: below the heading of each file, a table of its items.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};

use crate::Place;

pub struct Row {
    /// How often the item says `unsafe`.
    pub uses: usize,
    /// What would fail if it were not sound. There need be none where the row says why.
    pub tests: Vec<String>,
}

/// The rows of all tables below headings that are paths of Rust files.
pub fn rows(text: &str) -> Result<BTreeMap<Place, Row>> {
    let mut rows = BTreeMap::new();
    let mut path = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            path = heading.ends_with(".rs").then(|| heading.to_owned());
        }
        let Some(path) = &path else { continue };
        if !line.starts_with("| `") {
            continue;
        }
        let (item, row) = row(line).with_context(|| format!("not a row: {line}"))?;
        if rows.insert((path.clone(), item), row).is_some() {
            bail!("twice: {line}");
        }
    }
    Ok(rows)
}

/// Of `` | `item` (uses) | what it relies on | `test`, `test` | ``, or, in the place of tests, `none: why`.
fn row(line: &str) -> Option<(String, Row)> {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let [item, fact, tests] = cells[..] else {
        return None;
    };
    let (item, uses) = item.strip_prefix('`')?.split_once("` (")?;
    let uses = uses.strip_suffix(')')?.parse().ok()?;
    let names = tests.split('`').skip(1).step_by(2);
    let names: Vec<String> = names.map(str::to_owned).collect();
    if fact.is_empty() || names.is_empty() != tests.starts_with("none: ") {
        return None;
    }
    Some((item.to_owned(), Row { uses, tests: names }))
}
