// SPDX-License-Identifier: GPL-2.0

//! What has the kernel's allocations fail.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{ensure, Context, Result};

/// A directory of debugfs with the settings of one kind of failures.
struct Fault(&'static str);

/// Of objects of a slab.
const SLAB: Fault = Fault("/sys/kernel/debug/failslab");
/// Of whole pages, from which what is larger than 8 KiB comes.
const PAGES: Fault = Fault("/sys/kernel/debug/fail_page_alloc");

impl Fault {
    fn set(&self, name: &str, value: &str) -> Result<()> {
        let file = format!("{}/{name}", self.0);
        fs::write(&file, value).with_context(|| format!("{value} > {file}"))
    }

    fn configure(&self, settings: &[(&str, &str)]) -> Result<()> {
        const ALWAYS: [(&str, &str); 4] = [
            ("times", "0"),
            ("space", "0"),
            ("verbose", "0"),
            ("task-filter", "N"),
        ];
        ensure!(Path::new(self.0).exists(), "this kernel has no {}", self.0);
        for (name, value) in ALWAYS.iter().chain(settings) {
            self.set(name, value)?;
        }
        Ok(())
    }

    /// Only what is called, by whatever way, from there.
    fn require_caller(&self, text: &Range<u64>) -> Result<()> {
        self.configure(&[
            ("interval", "1"),
            ("ignore-gfp-wait", "N"),
            ("stacktrace-depth", "32"),
            ("require-start", &format!("{:#x}", text.start)),
            ("require-end", &format!("{:#x}", text.end)),
        ])
    }

    /// Whether as many have failed as were to.
    fn is_done(&self) -> Result<bool> {
        let times = fs::read_to_string(format!("{}/times", self.0))?;
        Ok(times.trim() == "0")
    }

    fn stop(&self) {
        // Where this is called in a drop, there is nothing more to be done.
        let _ = self.set("times", "0");
        let _ = self.set("probability", "0");
    }
}

/// One allocation of the match's module fails: the one with a number, counted from when it is armed.
pub struct Nth {
    /// How many allocations failslab has counted.
    counted: u64,
    nth: u64,
}

impl Nth {
    pub fn new() -> Result<Self> {
        SLAB.require_caller(&text_of_module()?)?;
        SLAB.set("probability", "100")?;
        Ok(Self { counted: 0, nth: 0 })
    }

    /// Has the `nth` allocation from now on fail.
    pub fn arm(&mut self, nth: u64) -> Result<()> {
        // Those whose number is a multiple of the interval fail. The kernel begins to count where
        // the interval is more than one, and never begins anew.
        let interval = if nth == 1 { 1 } else { self.counted + nth };
        self.nth = nth;
        SLAB.set("interval", &interval.to_string())?;
        SLAB.set("times", "1")
    }

    /// Whether it has failed.
    pub fn disarm(&mut self) -> Result<bool> {
        let failed = SLAB.is_done()?;
        SLAB.set("times", "0")?;
        if failed && self.nth > 1 {
            self.counted += self.nth;
        }
        Ok(failed)
    }
}

impl Drop for Nth {
    fn drop(&mut self) {
        SLAB.stop();
    }
}

/// The next allocation of the match's module fails that is too large for a slab.
pub struct Large(());

impl Large {
    pub fn fail_next() -> Result<Self> {
        // Smaller ones are those of the kernel's own checks.
        const ORDER: &str = "3";
        PAGES.require_caller(&text_of_module()?)?;
        PAGES.set("min-order", ORDER)?;
        PAGES.set("probability", "100")?;
        PAGES.set("times", "1")?;
        Ok(Self(()))
    }

    pub fn has_failed(&self) -> Result<bool> {
        PAGES.is_done()
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        PAGES.stop();
    }
}

/// One allocation fails, of those that this thread makes while it has the kernel initialise a module:
/// the one with this number. Returns with the result whether there were so many.
pub fn while_initialising<T>(nth: u32, load: impl FnOnce() -> T) -> Result<(T, bool)> {
    const FILE: &str = "/proc/thread-self/fail-nth";
    let text = text_of("do_one_initcall")?;
    for fault in [SLAB, PAGES] {
        fault.require_caller(&text)?;
    }
    fs::write(FILE, nth.to_string()).context(FILE)?;
    let result = load();
    let left = fs::read_to_string(FILE).context(FILE)?;
    fs::write(FILE, "0").context(FILE)?;
    Ok((result, left.trim() == "0"))
}

/// Of all allocations in the kernel that cannot wait for memory, as none on a packet's way can, some
/// fail, as long as this lives.
pub struct Share(());

impl Share {
    pub fn of_hundred(percent: u8) -> Result<Self> {
        SLAB.configure(&[
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
        SLAB.stop();
    }
}

/// Where functions are, and what they are called.
fn functions() -> Result<Vec<(u64, String)>> {
    let mut functions = Vec::new();
    for line in fs::read_to_string("/proc/kallsyms")?.lines() {
        let mut words = line.splitn(3, ' ');
        if let (Some(address), Some("t" | "T"), Some(name)) =
            (words.next(), words.next(), words.next())
        {
            functions.push((u64::from_str_radix(address, 16)?, name.to_owned()));
        }
    }
    functions.sort();
    let told = functions.first().is_some_and(|&(address, _)| address != 0);
    ensure!(told, "the kernel tells no addresses");
    Ok(functions)
}

/// Where a function of the kernel is.
fn text_of(name: &str) -> Result<Range<u64>> {
    let functions = functions()?;
    let mut from = functions.iter().skip_while(|(_, other)| other != name);
    let (start, _) = *from.next().with_context(|| format!("no {name}"))?;
    let next = from.find(|&&(other, _)| other > start);
    Ok(start..next.with_context(|| format!("nothing behind {name}"))?.0)
}

/// Where the module's functions are.
fn text_of_module() -> Result<Range<u64>> {
    /// Longer than any of them.
    const FUNCTION: u64 = 0x4000;
    const PAGE: u64 = 0x1000;

    let (ours, others): (Vec<_>, Vec<_>) = functions()?
        .into_iter()
        .partition(|(_, name)| name.ends_with("[xt_connlimit_rs]"));
    let (first, _) = *ours.first().context("no functions")?;
    let (last, _) = *ours.last().context("no functions")?;
    // How long the last one is is not told, but no two modules share a page.
    let next = others.into_iter().find(|&(other, _)| other > last);
    let end = next.map_or(u64::MAX, |(next, _)| next & !(PAGE - 1));
    Ok(first..end.min(last + FUNCTION))
}
