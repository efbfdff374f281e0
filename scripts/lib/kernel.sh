# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# A kernel: its source and build directory, which modules are built with, and what of it boots.

source "${BASH_SOURCE[0]%/*}/buildroot.sh"

# Which one is wanted.
# debian: that of Debian's backports, as it comes
# forky: that of the testing suite, as it comes, with compilers of its own
# debug: the same version as the first one, to look for mistakes
kernel_flavour=${kernel_flavour:-debian}
readonly kernel_flavours='debian|forky|debug'

is_kernel_flavour() { [[ $1 =~ ^($kernel_flavours)$ ]]; }

# prepare_kernel: sets kernel_dir, to be bound to /kernel, beside what prepare_root sets; kernel_root and
# kernel_release are those of the kernel that is wanted. In kernel_dir, source and build are what
# modules are built with, and installed is what boots: vmlinux and lib/modules.
prepare_kernel() {
    local doing='rebuilding the Rust metadata of' minutes=2 files=(make-kernel-dir)
    prepare_root
    case $kernel_flavour in
    forky) prepare_kernel_root forky ;;
    debug) doing='building, to look for mistakes,' minutes=10 files=(make-debug-kernel debug-kernel.config) ;;
    esac
    kernel_key=$({ printf '%s\n' "$kernel_root_key" && code_of "$lib_dir/kernel-source.sh" "${files[@]/#/$lib_dir/}"; } | short_hash)
    cache_entry "$kernel_flavour-kernel" "$kernel_key" make_kernel "$doing" "$minutes" "${files[0]}"
    kernel_dir=$REPLY
    kernel_release=$(<"$kernel_dir/build/include/config/kernel.release")
}

# make_kernel DOING MINUTES MAKER DIR
make_kernel() {
    local since=$SECONDS log=$cache_dir/$kernel_flavour-kernel.log
    say "$1 kernel $kernel_release (about $2 minutes, once)"
    quietly "$log" for_kernel in_root --bind "$4:/kernel" --bind-ro "$lib_dir:/src" -- \
        bash "/src/$3" "$kernel_release" "$(kernel_series)"
    say "that is done: $(tail -n 1 "$log") ($(elapsed "$since"))"
}
