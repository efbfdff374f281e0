# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The initramfs that the VM boots with: all that tests use.

source "${BASH_SOURCE[0]%/*}/releases.sh"

# prepare_initramfs: sets initramfs, the file, beside what prepare_kernel sets.
prepare_initramfs() {
    local key
    prepare_kernel
    key=$({ printf '%s\n' "$kernel_key" && code_of "$lib_dir"/{make-initramfs,guest-init}; } | short_hash)
    cache_entry initramfs "$key" make_initramfs
    initramfs=$REPLY/initramfs
}

# make_initramfs DIR
make_initramfs() {
    local log=$cache_dir/initramfs.log
    say "making the VM's initramfs (a few seconds, once)"
    quietly "$log" in_root --bind "$1:/out" --bind-ro "$lib_dir:/src" --bind-ro "$kernel_dir:/kernel" -- \
        bash /src/make-initramfs "$kernel_release"
}

# pack DIR: DIR's contents as a cpio archive on stdout, to be appended to the initramfs.
pack() {
    in_root --bind-ro "$1:/out" -- sh -c 'cd /out && find . | cpio --quiet -o -H newc'
}
