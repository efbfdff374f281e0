# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Modules with a mistake planted in them, which something is to notice.

source "${BASH_SOURCE[0]%/*}/host.sh"

files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT

# with_mistake MISTAKE COMMAND [VM_OPTION...]: in a VM, loads such a module and runs COMMAND. What it says
# goes to $files/stdout and $files/stderr; sets status.
with_mistake() {
    local mistake=$1 command=$2
    status=0
    quietly "$files/make.log" for_kernel in_build_root make -C /src/xt_connlimit_rs KDIR=/kernel/build \
        MO="/out/planted/$mistake" PLANTED="$mistake" modules
    "$checkout/scripts/vm" --kernel "$kernel_flavour" --match none --memory 2048 --timeout 600 "${@:3}" \
        --copy "$cache_dir/build-$checkout_key-$kernel_key/planted/$mistake/xt_connlimit_rs.ko" -- \
        "modprobe -a x_tables nf_conntrack && insmod xt_connlimit_rs.ko && $command" \
        >"$files/stdout" 2>"$files/stderr" || status=$?
}
