# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Building this checkout in the build root. The results stay in the cache, so that building again
# takes only as long as what has changed.

source "${BASH_SOURCE[0]%/*}/kernel.sh"

# Two checkouts do not share what they build; what is built for user space fits any kernel.
checkout_key=$(short_hash <<<"$checkout")
cargo_target=cargo/target/$checkout_key
vmtest=$cache_dir/$cargo_target/x86_64-unknown-linux-gnu/release/vmtest
# An explicit --target keeps these flags from build scripts and procedural macros. libFuzzer is C++.
cargo_env=(env CXX=clang++-19 CARGO_HOME=/cargo "CARGO_TARGET_DIR=/$cargo_target" RUSTFLAGS='-C target-feature=+crt-static')

# in_build_root COMMAND...: with this checkout in /src/xt_connlimit_rs, the kernel in /kernel, cargo's
# things in /cargo, and a place for what is built in /out.
in_build_root() {
    local out=$cache_dir/build-$checkout_key-$kernel_key
    mkdir -p "$out" "$cache_dir/$cargo_target"
    touch "$out" "$cache_dir/$cargo_target"
    in_root --bind "$checkout:/src/xt_connlimit_rs" --bind-ro "$kernel_dir:/kernel" \
        --bind "$out:/out" --bind "$cache_dir/cargo:/cargo" -- "$@"
}

# source_key PATH...: of the contents of all files there.
source_key() {
    (cd "$checkout" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | short_hash
}

module_key() { source_key Kbuild Makefile VERSION rust scripts/check-kernel scripts/kernel-variables xt_connlimit_rs.rs; }

# build_module DIR: build xt_connlimit_rs.ko, unless that has been done, and put it into DIR.
build_module() {
    cache_entry module "$(module_key)-$kernel_key" make_module
    cp "$REPLY/xt_connlimit_rs.ko" "$1/"
}

make_module() {
    say "building xt_connlimit_rs.ko for kernel $kernel_release"
    make_for_kernel modules
    cp "$cache_dir/build-$checkout_key-$kernel_key/module/xt_connlimit_rs.ko" "$1/"
    prune_builds
}

# make_for_kernel TARGET...: two entries are made of what is built in one place.
make_for_kernel() {
    with_lock make-module quietly "$cache_dir/module.log" for_kernel in_build_root \
        make -C /src/xt_connlimit_rs KDIR=/kernel/build MO=/out/module INSTALL_MOD_PATH=/out/installed "$@"
}

# build_installation DIR: all that is installed, and what installs it, there or on another machine.
build_installation() {
    cache_entry installed-module "$(module_key)-$kernel_key" make_installed_module
    rm -f "$1"/xt_connlimit_rs.ko*
    cp "$REPLY"/xt_connlimit_rs.ko* "$1/"
    build_extension "$1"
    cp "$checkout"/scripts/{extension,install,modprobe.conf} "$checkout/libxt_connlimit/libxt_connlimit.8" "$1/"
}

# make_installed_module DIR: stripped, and compressed as the kernel's own are.
make_installed_module() {
    say "building xt_connlimit_rs.ko for kernel $kernel_release"
    make_for_kernel modules modules_install
    cp "$cache_dir/build-$checkout_key-$kernel_key/installed/lib/modules/$kernel_release/updates"/xt_connlimit_rs.ko* "$1/"
    prune_builds
}

# build_vmtest DIR: build the test runner that runs in the VM, unless that has been done, and put it
# into DIR.
build_vmtest() {
    local key
    key=$(source_key Cargo.toml Cargo.lock libxt_connlimit/libxt_connlimit.8 libxt_connlimit/src/help.txt \
        tests/corpus/abi tests/corpus/packets tests/extension/src tests/vmtest)
    cache_entry vmtest "$key-$root_key" make_vmtest
    cp "$REPLY/vmtest" "$1/"
}

make_vmtest() {
    say "building the test runner"
    quietly "$cache_dir/vmtest.log" in_cargo build --release --locked --target x86_64-unknown-linux-gnu -p vmtest
    cp "$vmtest" "$1/"
}

# build_extension DIR: build libxt_connlimit.so, unless that has been done, and put it into DIR.
build_extension() {
    local key
    key=$(source_key Makefile libxt_connlimit)
    cache_entry extension "$key-$root_key" make_extension
    cp "$REPLY/libxt_connlimit.so" "$1/"
}

make_extension() {
    say "building libxt_connlimit.so"
    quietly "$cache_dir/extension.log" in_build_root env CARGO_HOME=/cargo \
        make -C /src/xt_connlimit_rs MO=/out/module extension
    cp "$cache_dir/build-$checkout_key-$kernel_key/module/libxt_connlimit.so" "$1/"
}

# bench_command MATCH OPTION...: the command that has `vmtest bench` measure in a VM, where conntrack
# has room for it.
bench_command() {
    printf '%s\n' \
        'echo 262144 >/proc/sys/net/netfilter/nf_conntrack_buckets' \
        'echo 3000000 >/proc/sys/net/netfilter/nf_conntrack_max' \
        'modprobe tun' \
        "vmtest bench --match $*"
}

# vmtest_was_built: from whatever checkout.
vmtest_was_built() { compgen -G "$cache_dir/vmtest-*/vmtest" >/dev/null; }

# in_cargo SUBCOMMAND ARGUMENT...: run cargo on this checkout, for programs that are static, so that
# they run in any VM. Without the network where all crates are there: looking for news takes seconds.
in_cargo() {
    local toml=/src/xt_connlimit_rs/Cargo.toml offline=()
    if in_build_root "${cargo_env[@]}" cargo fetch --locked --offline --manifest-path "$toml" &>/dev/null; then
        offline=(--offline)
    fi
    in_build_root "${cargo_env[@]}" cargo "$1" "${offline[@]}" --manifest-path "$toml" "${@:2}"
}

# prune_builds: what has not been built for a week goes.
prune_builds() {
    find "$cache_dir"/build-* "$cache_dir"/cargo/target/* -maxdepth 0 -mtime +7 -exec rm -rf {} +
}
