// SPDX-License-Identifier: GPL-2.0

//! How many packets the match has dropped by itself, and why.
//!
//! Read them in `/sys/kernel/debug/xt_connlimit_rs/dropped`: a line for each reason, with the
//! number of packets since the module was loaded, over all rules and namespaces.

use kernel::{
    debugfs,
    fmt,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Numbers of packets.
pub(crate) struct Dropped {
    /// Which nothing could be parsed of.
    pub(crate) unparsable: Atomic<u64>,
    /// Of new connections that there was no memory to remember.
    pub(crate) no_memory: Atomic<u64>,
}

/// What was dropped since the module was loaded.
pub(crate) static DROPPED: Dropped = Dropped {
    unparsable: Atomic::new(0),
    no_memory: Atomic::new(0),
};

impl Dropped {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "unparsable {}", self.unparsable.load(Relaxed))?;
        writeln!(f, "no_memory {}", self.no_memory.load(Relaxed))
    }
}

/// The file that shows them.
pub(crate) type File = debugfs::File<&'static Dropped>;

/// Makes the file. It goes when it is dropped.
pub(crate) fn file(directory: &debugfs::Dir) -> impl PinInit<File> + '_ {
    directory.read_callback_file(c"dropped", &DROPPED, &|dropped: &&Dropped, f| {
        dropped.show(f)
    })
}
