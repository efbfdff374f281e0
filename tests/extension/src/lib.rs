// SPDX-License-Identifier: GPL-2.0

//! Option lists for `-m connlimit`, and where libxt_connlimit is to take them otherwise than the
//! extension that comes with iptables does. `tests/` puts them to `iptables-translate`, and
//! tests/vmtest to the programs that need a kernel.

pub mod difference;
pub mod list;

pub use difference::Difference;
pub use list::List;

/// The Debian releases whose iptables is tried: 1.8.9, 1.8.11 and 1.8.13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    Bookworm,
    Trixie,
    Forky,
}

impl Release {
    pub const ALL: [Release; 3] = [Release::Bookworm, Release::Trixie, Release::Forky];

    /// Also the name of the directory with its programs.
    pub fn name(self) -> &'static str {
        match self {
            Release::Bookworm => "bookworm",
            Release::Trixie => "trixie",
            Release::Forky => "forky",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];
}

/// Which extension is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    Ours,
    Stock,
}

impl Extension {
    /// `XTABLES_LIBDIR` in the directory of a release.
    pub fn search_path(self) -> &'static str {
        match self {
            Extension::Ours => "/extension:/usr/lib/x86_64-linux-gnu/xtables",
            Extension::Stock => "/usr/lib/x86_64-linux-gnu/xtables",
        }
    }
}
