// SPDX-License-Identifier: GPL-2.0

//! Compares the unsafe code that there is with what Documentation/unsafe.md says of it. Prints what
//! is in the one and not in the other.

mod document;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};
use clap::Parser;

/// A file's path, and the item in it that has unsafe code.
type Place = (String, String);

#[derive(Parser)]
#[command(about = "Compares unsafe code with its documentation. Names of tests come from stdin.")]
struct Cli {
    /// What says why the code is sound.
    document: PathBuf,
    /// Rust files.
    #[arg(required = true)]
    sources: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let text = std::fs::read_to_string(&cli.document)
        .with_context(|| cli.document.display().to_string())?;
    let tests: BTreeSet<String> = io::stdin().lines().collect::<io::Result<_>>()?;
    ensure!(!tests.is_empty(), "stdin names no test");

    let documented = document::rows(&text)?;
    let mut found = BTreeMap::new();
    for path in &cli.sources {
        let code = std::fs::read_to_string(path).with_context(|| path.clone())?;
        for (item, uses) in source::unsafe_items(&code).with_context(|| path.clone())? {
            found.insert((path.clone(), item), uses);
        }
    }
    let problems = problems(&found, &documented, &tests);
    for problem in &problems {
        println!("{problem}");
    }
    let uses: usize = found.values().sum();
    println!("{uses} uses of unsafe in {} items", found.len());
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn problems(
    found: &BTreeMap<Place, usize>,
    documented: &BTreeMap<Place, document::Row>,
    tests: &BTreeSet<String>,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (place @ (path, item), uses) in found {
        match documented.get(place) {
            None => problems.push(format!("{path}: {item} has {uses} that are not documented")),
            Some(row) if row.uses != *uses => problems.push(format!(
                "{path}: {item} has {uses}, {} are documented",
                row.uses
            )),
            Some(_) => (),
        }
    }
    for (place @ (path, item), row) in documented {
        if !found.contains_key(place) {
            problems.push(format!("{path}: {item} is documented and has none"));
        }
        for test in &row.tests {
            let is_of_it = |name: &String| {
                let rest = name.strip_prefix(test.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if !tests.iter().any(is_of_it) {
                problems.push(format!("{path}: {item}: there is no test {test}"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(code: &str, document: &str) -> Vec<String> {
        let found = source::unsafe_items(code)
            .unwrap()
            .into_iter()
            .map(|(item, uses)| (("a.rs".to_owned(), item), uses))
            .collect();
        problems(
            &found,
            &document::rows(document).unwrap(),
            &BTreeSet::from(["host/a".to_owned()]),
        )
    }

    const ONE: &str =
        "## a.rs\n| item | fact | tests |\n|---|---|---|\n| `f` (1) | x | `host/a` |\n";

    #[test]
    fn agreement() {
        assert!(compare("fn f() { unsafe { g() } }", ONE).is_empty());
    }

    #[test]
    fn each_difference_is_told() {
        let differences = [
            ("fn f() { unsafe { g() } } unsafe fn h() {}", ONE.to_owned()),
            ("fn f() { unsafe { g() }; unsafe { g() } }", ONE.to_owned()),
            ("fn f() {}", ONE.to_owned()),
            (
                "fn f() { unsafe { g() } }",
                ONE.replace("`host/a`", "`host/b`"),
            ),
            (
                "fn f() { unsafe { g() } }",
                ONE.replace("`host/a`", "`hos`"),
            ),
        ];
        for (code, document) in differences {
            assert_eq!(compare(code, &document).len(), 1, "{code}");
        }
    }
}
