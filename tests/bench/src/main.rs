// SPDX-License-Identifier: GPL-2.0

//! Compares what packets cost in both matches, as `vmtest bench` has measured it.

mod chart;
mod figures;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use figures::Figures;

#[derive(Parser)]
#[command(about = "Compares what packets cost in both matches", version)]
struct Cli {
    /// What `vmtest bench --match rs` has printed.
    rs: PathBuf,
    /// What `vmtest bench --match in-tree` has printed.
    in_tree: PathBuf,
    /// Where to put the figures as JSON, and the curves as SVG.
    directory: PathBuf,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let figures = Figures {
        rs: read(&cli.rs)?,
        in_tree: read(&cli.in_tree)?,
    };
    let rows = targets::rows(&figures);
    print!("{}", targets::table(&rows));
    let json = serde_json::to_string_pretty(&rows)?;
    let write = |name: &str, text: String| {
        let path = cli.directory.join(name);
        fs::write(&path, text + "\n").with_context(|| path.display().to_string())
    };
    write("bench.json", json)?;
    write(
        "cost-by-connections.svg",
        chart::draw("connections of the client", "new_one_key", &figures)?,
    )?;
    write(
        "cost-by-keys.svg",
        chart::draw("clients", "new_own_key", &figures)?,
    )
}

fn read(path: &Path) -> Result<Vec<figures::Figure>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}
