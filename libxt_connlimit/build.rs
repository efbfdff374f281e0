// SPDX-License-Identifier: GPL-2.0

//! Binds what xtables.h declares, by the bindgen program: whoever builds the module has it.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/xtables.h");
    // Without what C calls there is no C.
    if env::var_os("CARGO_FEATURE_BOUNDARY").is_none() {
        return;
    }

    let cflags = output(Command::new("pkg-config").args(["--cflags", "xtables"]));
    let libs = output(Command::new("pkg-config").args(["--libs", "xtables"]));

    let out_dir = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    output(
        Command::new("bindgen")
            .args(["--use-core", "--no-doc-comments", "--no-prepend-enum-name"])
            .args([
                "--allowlist-item",
                "xtables_(match|globals|register_matches|exittype)",
            ])
            .args(["--allowlist-item", "xt_(params|connlimit_info|entry_match)"])
            .args([
                "--allowlist-item",
                "xt_xlate_(mt_params|add|set_add|get_family)",
            ])
            .args(["--allowlist-item", "XT_CONNLIMIT_.*|CONNLIMIT_.*"])
            .args([
                "--allowlist-item",
                "NFPROTO_(UNSPEC|IPV[46])|XTABLES_VERSION",
            ])
            .args(["--allowlist-item", "abort|optarg|option|printf"])
            .arg("-o")
            .arg(Path::new(&out_dir).join("bindings.rs"))
            .args(["src/xtables.h", "--"])
            .args(cflags.split_whitespace()),
    );

    // A symbol that nobody has would otherwise be noticed when iptables loads the library.
    for arg in libs.split_whitespace().chain(["-lc", "-Wl,-z,defs"]) {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
}

/// What the command prints. There is no building without it.
fn output(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(done) if done.status.success() => String::from_utf8_lossy(&done.stdout).into_owned(),
        Ok(done) => panic!(
            "{program} failed (is libxtables-dev installed?): {}",
            String::from_utf8_lossy(&done.stderr)
        ),
        Err(error) => panic!("{program} is needed: {error}"),
    }
}
