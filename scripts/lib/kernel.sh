# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel build directory: what Debian's headers hold, and the Rust metadata that they leave out.

source "${BASH_SOURCE[0]%/*}/buildroot.sh"

# prepare_kernel: sets kernel_dir, to be bound to /kernel, beside what prepare_root sets.
prepare_kernel() {
    prepare_root
    kernel_key=$({ printf '%s\n' "$root_key" && code_of "$lib_dir/make-kernel-dir"; } | short_hash)
    cache_entry kernel "$kernel_key" make_kernel_dir
    kernel_dir=$REPLY
}

# make_kernel_dir DIR
make_kernel_dir() {
    local since=$SECONDS log=$cache_dir/kernel.log
    say "rebuilding the Rust metadata of kernel $kernel_release (about 2 minutes, once)"
    quietly "$log" in_root --bind "$1:/kernel" --bind-ro "$checkout:/src/xt_connlimit_rs" -- \
        bash /src/xt_connlimit_rs/scripts/lib/make-kernel-dir "$kernel_release" "$(kernel_series)"
    say "the kernel's Rust metadata is made, $(tail -n 1 "$log") ($(elapsed "$since"))"
}
