# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The beginning of make-kernel-dir and make-debug-kernel, which source it in the build root.

set -euo pipefail

readonly source=/kernel/source build=/kernel/build installed=/kernel/installed

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# unpack_source SERIES [PATTERN...]: the source of Debian's kernel, but for the files that PATTERNs name,
# and others that are never built here.
unpack_source() {
    local pattern options=()
    for pattern in 'sound/*.c' 'Documentation/*.rst' 'Documentation/*.yaml' 'arch/*/boot/dts/*' \
        'tools/testing/*' 'tools/perf/*' "${@:2}"; do
        options+=(--exclude="*/$pattern")
    done
    mkdir "$source" "$build" "$installed"
    tar -xf "/usr/src/linux-source-$1.tar.xz" -C "$source" --strip-components=1 --wildcards "${options[@]}"
}
