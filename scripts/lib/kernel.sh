# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel build directory. For Debian's own kernel: what its headers hold, and the Rust metadata
# that they leave out. For the debug kernel: what building it has left, with its modules.

source "${BASH_SOURCE[0]%/*}/buildroot.sh"

# Which kernel is wanted: debian or debug.
kernel_flavour=${kernel_flavour:-debian}

# prepare_kernel: sets kernel_dir, to be bound to /kernel, and where modules_dir and kernel_image are
# in the build root, beside what prepare_root sets.
prepare_kernel() {
    prepare_root
    case $kernel_flavour in
    debian)
        kernel_key=$({ printf '%s\n' "$root_key" && code_of "$lib_dir/make-kernel-dir"; } | short_hash)
        cache_entry kernel "$kernel_key" make_kernel_dir
        kernel_dir=$REPLY
        modules_dir=/usr/lib/modules/$kernel_release
        kernel_image=$modules_dir/vmlinuz
        ;;
    debug)
        kernel_key=$({ printf '%s\n' "$root_key" && code_of "$lib_dir"/{make-debug-kernel,debug-kernel.config}; } | short_hash)
        cache_entry debug-kernel "$kernel_key" make_debug_kernel
        kernel_dir=$REPLY
        kernel_release=$(<"$kernel_dir/build/include/config/kernel.release")
        modules_dir=/kernel/build/installed/lib/modules/$kernel_release
        kernel_image=/kernel/build/vmlinux
        ;;
    esac
}

# make_debug_kernel DIR
make_debug_kernel() {
    local since=$SECONDS
    say "building a kernel that looks for mistakes (about 10 minutes, once)"
    quietly "$cache_dir/debug-kernel.log" in_root --bind "$1:/kernel" --bind-ro "$lib_dir:/src" -- \
        bash /src/make-debug-kernel "$(kernel_series)" /src/debug-kernel.config
    say "the debug kernel is made ($(elapsed "$since"))"
}

# make_kernel_dir DIR
make_kernel_dir() {
    local since=$SECONDS log=$cache_dir/kernel.log
    say "rebuilding the Rust metadata of kernel $kernel_release (about 2 minutes, once)"
    quietly "$log" in_root --bind "$1:/kernel" --bind-ro "$checkout:/src/xt_connlimit_rs" -- \
        bash /src/xt_connlimit_rs/scripts/lib/make-kernel-dir "$kernel_release" "$(kernel_series)"
    say "the kernel's Rust metadata is made, $(tail -n 1 "$log") ($(elapsed "$since"))"
}
