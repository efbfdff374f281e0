// SPDX-License-Identifier: GPL-2.0

//! A module that is installed is loaded by the first rule that needs it.

use std::fs;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use nix::sys::utsname::uname;

use crate::module::{self, Reload};
use crate::registry::Registry;
use crate::rules::{limit, Chain, Iptables, Ruleset};
use crate::system;
use crate::variant::{Family, FrontEnd, Module};

pub fn register(registry: &mut Registry) {
    registry
        .add("autoload/by_each_front_end", autoload)
        .exclusive();
}

/// The file where modules are looked for that did not come with the kernel.
struct Installed(PathBuf);

impl Installed {
    fn new(module: Module) -> Result<Self> {
        let release = uname()?.release().to_owned();
        let folder = PathBuf::from("/lib/modules").join(release).join("updates");
        let file = folder.join(module.kernel_name()).with_extension("ko");
        let built =
            std::env::var(module::FILE).with_context(|| format!("{} is not set", module::FILE))?;
        fs::create_dir_all(&folder)?;
        fs::copy(&built, &file).with_context(|| built)?;
        // Made before depmod runs, so that the file goes again whatever comes.
        let installed = Self(file);
        system::run("depmod", &[], "")?;
        Ok(installed)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // What depmod has written finds no file any more, and the module is loaded by then.
        let _ = fs::remove_file(&self.0);
    }
}

fn autoload(module: Module) -> Result<()> {
    module::wait_until_unused(module)?;
    let _reload = Reload(module);
    let _installed = match module {
        Module::Rs => Some(Installed::new(module)?),
        Module::InTree => None,
    };
    for family in Family::ALL {
        for front_end in FrontEnd::ALL {
            let iptables = Iptables { family, front_end };
            loaded_by(iptables, module).with_context(|| iptables.name())?;
        }
    }
    Ok(())
}

fn loaded_by(iptables: Iptables, module: Module) -> Result<()> {
    module::unload(module).context("unload")?;
    ensure!(!module::is_loaded(module), "still loaded");

    let rule = format!("-p tcp {}", limit(1).matches());
    iptables.restore(&Ruleset::default().filter(Chain::Input, rule))?;
    ensure!(module::is_loaded(module), "not loaded");
    let users = module::users(module)?;
    ensure!(users == 1, "{users} users");
    for other in Module::ALL {
        ensure!(
            other == module || !module::is_loaded(other),
            "{} was loaded, too",
            other.kernel_name()
        );
    }
    iptables.restore(&Ruleset::empty())?;
    module::wait_until_unused(module)
}
