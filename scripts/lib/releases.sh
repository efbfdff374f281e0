# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The iptables of Debian's releases, each in a directory that one can change root to.

source "${BASH_SOURCE[0]%/*}/build.sh"

readonly releases=(bookworm trixie forky)

# prepare_releases: sets releases_dir, which holds a directory for each of them, beside what
# prepare_kernel sets.
prepare_releases() {
    local key
    prepare_kernel
    key=$({ printf '%s\n' "$mirror" "${releases[@]}" && declare -f make_releases make_release bootstrap; } | short_hash)
    cache_entry releases "$key" make_releases
    releases_dir=$REPLY/releases
}

# make_releases DIR
make_releases() {
    local release
    say "fetching the iptables of Debian ${releases[*]} (a few seconds each, once)"
    need_program mmdebstrap
    for release in "${releases[@]}"; do
        mkdir -p "$1/releases/$release"
        quietly "$cache_dir/releases.log" make_release "$release" "$1/releases/$release"
    done
}

# make_release NAME DIR: nothing is installed there, only unpacked, and only what iptables loads is
# kept.
make_release() {
    local unpacked=$2.unpacked
    bootstrap "$1" "$unpacked" --variant=extract --include=iptables,libc6,netbase
    mkdir -p "$2"/{etc,extension,proc,run,tmp,usr/lib,usr/lib64}
    ln -s usr/lib usr/lib64 usr/sbin "$2/"
    # Up to bookworm, some are still in /lib.
    cp -a "$unpacked"/{,usr/}lib/x86_64-linux-gnu "$2/usr/lib/" 2>/dev/null || true
    cp -a "$unpacked"/{,usr/}lib64/. "$2/usr/lib64/" 2>/dev/null || true
    cp -a "$unpacked/usr/sbin" "$2/usr/"
    cp "$unpacked"/etc/{protocols,services} "$2/etc/"
    rm -r "$2/usr/lib/x86_64-linux-gnu/gconv" "$2"/usr/lib/x86_64-linux-gnu/lib{m,mvec}.so.* "$unpacked"
    chroot "$2" iptables-nft --version
    chroot "$2" iptables-legacy --version
}
