// SPDX-License-Identifier: GPL-2.0

//! The kernel's failslab, which has allocations fail.

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context, Result};

const DIRECTORY: &str = "/sys/kernel/debug/failslab";

fn set(name: &str, value: &str) -> Result<()> {
    let file = format!("{DIRECTORY}/{name}");
    fs::write(&file, value).with_context(|| format!("{value} > {file}"))
}

fn configure(settings: &[(&str, &str)]) -> Result<()> {
    const ALWAYS: [(&str, &str); 4] = [
        ("times", "0"),
        ("space", "0"),
        ("verbose", "0"),
        ("task-filter", "N"),
    ];
    ensure!(Path::new(DIRECTORY).exists(), "this kernel has no failslab");
    for (name, value) in ALWAYS.iter().chain(settings) {
        set(name, value)?;
    }
    Ok(())
}

fn stop() {
    // Where this is called in a drop, there is nothing more to be done.
    let _ = set("times", "0");
    let _ = set("probability", "0");
}

/// One allocation of the match's module fails: the one with a number, counted from when it is armed.
pub struct Nth {
    /// How many allocations failslab has counted.
    counted: u64,
    nth: u64,
}

impl Nth {
    pub fn new() -> Result<Self> {
        let (start, end) = text_of_module()?;
        configure(&[
            ("probability", "100"),
            ("interval", "1"),
            ("ignore-gfp-wait", "N"),
            ("stacktrace-depth", "32"),
            ("require-start", &format!("{start:#x}")),
            ("require-end", &format!("{end:#x}")),
        ])?;
        Ok(Self { counted: 0, nth: 0 })
    }

    /// Has the `nth` allocation from now on fail.
    pub fn arm(&mut self, nth: u64) -> Result<()> {
        // Those whose number is a multiple of the interval fail. The kernel begins to count where
        // the interval is more than one, and never begins anew.
        let interval = if nth == 1 { 1 } else { self.counted + nth };
        self.nth = nth;
        set("interval", &interval.to_string())?;
        set("times", "1")
    }

    /// Whether it has failed.
    pub fn disarm(&mut self) -> Result<bool> {
        let times = fs::read_to_string(format!("{DIRECTORY}/times"))?;
        let failed = times.trim() == "0";
        set("times", "0")?;
        if failed && self.nth > 1 {
            self.counted += self.nth;
        }
        Ok(failed)
    }
}

impl Drop for Nth {
    fn drop(&mut self) {
        stop();
    }
}

/// Of all allocations in the kernel that cannot wait for memory, as none on a packet's way can, some
/// fail, as long as this lives.
pub struct Share(());

impl Share {
    pub fn of_hundred(percent: u8) -> Result<Self> {
        configure(&[
            ("interval", "1"),
            ("ignore-gfp-wait", "Y"),
            ("stacktrace-depth", "0"),
            ("probability", &percent.to_string()),
            ("times", "-1"),
        ])?;
        Ok(Self(()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        stop();
    }
}

/// Where the module's functions are.
fn text_of_module() -> Result<(u64, u64)> {
    /// Longer than any of them.
    const FUNCTION: u64 = 0x4000;
    const PAGE: u64 = 0x1000;

    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for line in symbols.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some("t" | "T")) = (words.next(), words.next()) else {
            continue;
        };
        let address = u64::from_str_radix(address, 16)?;
        match line.ends_with("[xt_connlimit_rs]") {
            true => ours.push(address),
            false => others.push(address),
        }
    }
    let first = *ours.iter().min().context("no functions")?;
    let last = *ours.iter().max().context("no functions")?;
    ensure!(first != 0, "the kernel tells no addresses");
    // How long the last one is is not told, but no two modules share a page.
    let next = others.into_iter().filter(|&other| other > last).min();
    let end = next.map_or(u64::MAX, |next| next & !(PAGE - 1));
    Ok((first, end.min(last + FUNCTION)))
}
