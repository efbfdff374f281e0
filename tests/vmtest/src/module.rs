// SPDX-License-Identifier: GPL-2.0

//! The kernel module that provides the match.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags};

use crate::system;
use crate::variant::Module;

/// Names the file to load, for the module that is not installed.
pub const FILE: &str = "XT_CONNLIMIT_KO";

pub fn is_loaded(module: Module) -> bool {
    Path::new("/sys/module").join(module.kernel_name()).exists()
}

/// How many rules, and whatever else, use it.
pub fn users(module: Module) -> Result<u32> {
    let name = module.kernel_name();
    let count = fs::read_to_string(format!("/sys/module/{name}/refcnt"))
        .with_context(|| format!("{name} is not loaded as a module"))?;
    Ok(count.trim().parse()?)
}

/// How many packets the module has dropped for a reason.
pub fn dropped(reason: &str) -> Result<u64> {
    let file = "/sys/kernel/debug/xt_connlimit_rs/dropped";
    let text = fs::read_to_string(file).context(file)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, count) = lines
        .find(|(name, _)| *name == reason)
        .with_context(|| format!("no {reason} in {text}"))?;
    Ok(count.parse()?)
}

/// Waits for namespaces of earlier tests, which the kernel takes apart when it finds the time.
pub fn wait_until_unused(module: Module) -> Result<()> {
    system::wait_until("no rule uses the module", || Ok(users(module)? == 0))
}

pub fn unload(module: Module) -> Result<(), Errno> {
    let name = std::ffi::CString::new(module.kernel_name()).map_err(|_| Errno::EINVAL)?;
    delete_module(&name, DeleteModuleFlags::O_NONBLOCK)
}

pub fn load(module: Module) -> Result<()> {
    match module {
        Module::InTree => system::run("modprobe", &[module.kernel_name()], "").map(drop),
        Module::Rs => {
            let path = std::env::var(FILE).with_context(|| format!("{FILE} is not set"))?;
            let file = File::open(&path).with_context(|| path.clone())?;
            finit_module(&file, c"", ModuleInitFlags::empty()).with_context(|| path)
        }
    }
}

/// Makes sure that later tests find the module, whatever happens to this one.
pub struct Reload(pub Module);

impl Drop for Reload {
    fn drop(&mut self) {
        if !is_loaded(self.0) {
            // The tests that need it will say that it is not there.
            let _ = load(self.0);
        }
    }
}
