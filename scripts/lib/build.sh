# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Building this checkout in the build root. The results stay in the cache, so that building again
# takes only as long as what has changed.

source "${BASH_SOURCE[0]%/*}/kernel.sh"

# Where the builds of this checkout for this kernel live; bound to /out.
out_dir() {
    printf '%s/build-%s-%s' "$cache_dir" "$(short_hash <<<"$checkout")" "$kernel_key"
}

# make_out_dir: this checkout's, marked as used. Those that nobody has used for a week go.
make_out_dir() {
    mkdir -p "$(out_dir)"
    touch "$(out_dir)"
    find "$cache_dir" -mindepth 1 -maxdepth 1 -type d -name 'build-*' -mtime +7 -exec rm -rf {} +
}

# in_build_root COMMAND...: with the checkout, the kernel, /out and cargo's downloads in their places.
in_build_root() {
    mkdir -p "$(out_dir)" "$cache_dir/cargo"
    in_root --bind "$checkout:/src/xt_connlimit_rs" --bind-ro "$kernel_dir:/kernel" \
        --bind "$(out_dir):/out" --bind "$cache_dir/cargo:/cargo" -- "$@"
}

# build_module DIR: build xt_connlimit_rs.ko and put it into DIR. Output goes to stderr.
build_module() {
    with_lock "$(basename "$(out_dir)")" build_module_locked "$1"
}

build_module_locked() {
    local log
    log=$(out_dir)/module.log
    say "building xt_connlimit_rs.ko for kernel $kernel_release"
    make_out_dir
    quietly "$log" in_build_root make -C /src/xt_connlimit_rs KDIR=/kernel/build MO=/out/module modules
    cp "$(out_dir)/module/xt_connlimit_rs.ko" "$1/"
}

# build_vmtest DIR: build the test runner that runs in the VM and put it into DIR.
build_vmtest() {
    with_lock "$(basename "$(out_dir)")" build_vmtest_locked "$1"
}

build_vmtest_locked() {
    local log target=x86_64-unknown-linux-gnu
    log=$(out_dir)/vmtest.log
    say "building the test runner"
    make_out_dir
    quietly "$log" in_cargo build --release --locked --target "$target" -p vmtest
    cp "$(out_dir)/cargo/$target/release/vmtest" "$(out_dir)/vmtest"
    cp "$(out_dir)/vmtest" "$1/"
}

vmtest_was_built() { [[ -e $(out_dir)/vmtest ]]; }

# in_cargo ARGUMENT...: run cargo for user space, static, so that it runs in any VM. Without the
# network if all crates are there, since asking the registry takes seconds even where nothing is new.
in_cargo() {
    local offline=()
    if in_build_root "${cargo_env[@]}" cargo fetch --locked --offline --manifest-path "$manifest_path" >/dev/null 2>&1; then
        offline=(--offline)
    fi
    in_build_root "${cargo_env[@]}" cargo "$1" "${offline[@]}" --manifest-path "$manifest_path" "${@:2}"
}
readonly manifest_path=/src/xt_connlimit_rs/Cargo.toml
# An explicit --target keeps these flags from build scripts and procedural macros.
readonly cargo_env=(env CARGO_HOME=/cargo CARGO_TARGET_DIR=/out/cargo RUSTFLAGS='-C target-feature=+crt-static')
