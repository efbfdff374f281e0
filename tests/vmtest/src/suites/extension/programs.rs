// SPDX-License-Identifier: GPL-2.0

//! The iptables of a release, with one of the extensions. `scripts/test` copies the releases and
//! libxt_connlimit.so to /root.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process;

use anyhow::{ensure, Context, Result};
use extension::{Extension, Release};

use crate::rules::{legacy, nft, Chain, Iptables};
use crate::system;
use crate::variant::{Family, FrontEnd};

const RELEASES: &str = "/root/releases";
const LIBRARY: &str = "/root/libxt_connlimit.so";

/// What of `struct xt_connlimit_info` is userspace's.
const USERSPACE_SIZE: usize = 24;

/// What the programs find where their root is: the library, and what iptables-legacy reads.
pub fn prepare() -> Result<()> {
    if !Path::new(RELEASES).exists() {
        return Ok(());
    }
    for release in Release::ALL {
        let root = Path::new(RELEASES).join(release.name());
        fs::copy(LIBRARY, root.join("extension/libxt_connlimit.so")).context(LIBRARY)?;
        let proc = root.join("proc");
        let proc = proc.to_str().context("not a path")?;
        system::run("mount", &["-t", "proc", "proc", proc], "")?;
    }
    Ok(())
}

/// How a program ended.
pub struct Ended {
    pub status: Option<i32>,
    pub output: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Programs {
    pub release: Release,
    pub front_end: FrontEnd,
    pub family: Family,
}

impl fmt::Display for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let release = self.release.name();
        write!(f, "{release}-{}-{}", self.front_end, self.family)
    }
}

impl Programs {
    pub fn new(release: Release, front_end: FrontEnd, family: Family) -> Self {
        Self {
            release,
            front_end,
            family,
        }
    }

    /// The family of option lists.
    pub fn lists(self) -> extension::Family {
        match self.family {
            Family::Ipv4 => extension::Family::Ipv4,
            Family::Ipv6 => extension::Family::Ipv6,
        }
    }

    /// Runs iptables, or another one of its programs by what comes behind its name.
    pub fn run(
        self,
        extension: Extension,
        tool: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<Ended> {
        let Self {
            family, front_end, ..
        } = self;
        let root = format!("{RELEASES}/{}", self.release.name());
        let program = Iptables { family, front_end }.name() + tool;
        let lock = format!("/run/{}.lock", process::id());
        let (output, written) = system::finish(
            "chroot",
            &[&[root.as_str(), program.as_str()], arguments].concat(),
            input,
            &[
                ("XTABLES_LIBDIR", extension.search_path()),
                ("XTABLES_LOCKFILE", &lock),
            ],
        )?;
        if output.status.success() {
            written?;
        }
        Ok(Ended {
            status: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            message: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The same, where it is to go well. Returns what it prints.
    pub fn must(
        self,
        extension: Extension,
        tool: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String> {
        let ended = self.run(extension, tool, arguments, input)?;
        ensure!(
            ended.status == Some(0) && ended.message.is_empty(),
            "{self} {extension:?} {tool} {arguments:?}: {:?}, {}",
            ended.status,
            ended.message
        );
        Ok(ended.output)
    }

    /// What the rules in a file, named as the programs find it, are in nft's language.
    pub fn restore_translate(self, extension: Extension, file: &str) -> Result<String> {
        let tool = match self.family {
            Family::Ipv4 => "iptables-restore-translate",
            Family::Ipv6 => "ip6tables-restore-translate",
        };
        let root = format!("{RELEASES}/{}", self.release.name());
        let path = [("XTABLES_LIBDIR", extension.search_path())];
        system::run_with_env("chroot", &[&root, tool, "-f", file], "", &path)
    }

    /// Makes these rules, in iptables-restore's language, and no others.
    pub fn restore(self, extension: Extension, rules: &[String]) -> Result<()> {
        let input = format!("*filter\n{}\nCOMMIT\n", rules.join("\n"));
        self.must(extension, "-restore", &[], &input).map(drop)
    }

    /// The rules of the table `filter`, as they can be restored.
    pub fn save(self, extension: Extension) -> Result<Vec<String>> {
        let saved = self.must(extension, "-save", &["-t", "filter"], "")?;
        let rules = saved.lines().filter(|line| line.starts_with("-A"));
        Ok(rules.map(str::to_owned).collect())
    }

    /// The rules of INPUT as people see them.
    pub fn list(self, extension: Extension) -> Result<Vec<String>> {
        let listed = self.must(extension, "", &["-nL", "INPUT"], "")?;
        Ok(listed.lines().skip(2).map(str::to_owned).collect())
    }

    /// What each rule of INPUT has told the kernel: the revision, and what is userspace's.
    pub fn stored(self) -> Result<Vec<(u32, Vec<u8>)>> {
        let infos = match self.front_end {
            FrontEnd::Legacy => legacy::Table::read(self.family, "filter")?
                .match_infos("connlimit")?
                .into_iter()
                .map(|(revision, info)| (revision.into(), info))
                .collect(),
            FrontEnd::Nft => nft::rules(self.family, "filter", Chain::Input)?
                .iter()
                .filter_map(|rule| rule.find_match("connlimit"))
                .map(|found| (found.revision, found.info))
                .collect::<Vec<_>>(),
        };
        infos
            .into_iter()
            .map(|(revision, mut info)| {
                ensure!(info.len() >= USERSPACE_SIZE, "{} bytes", info.len());
                info.truncate(USERSPACE_SIZE);
                Ok((revision, info))
            })
            .collect()
    }
}
