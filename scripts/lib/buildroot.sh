# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The build root: a Debian with everything that building and booting need, so that the host needs
# next to nothing, and in_root, which runs a command in it. A kernel of another suite takes a second
# one, which has what builds modules and no more.

source "${BASH_SOURCE[0]%/*}/cache.sh"
source "${BASH_SOURCE[0]%/*}/debian-kernel.sh"

# What modules are built with. The kernel's compiler comes with its headers. rustc and bindgen must be
# those that it was built with, too: they are the suite's own, which is what apt takes as long as
# nobody asks for backports.
kernel_packages=(
    bc bindgen bison flex gcc kmod libc6-dev libdw-dev libelf-dev libssl-dev make pahole perl-base python3-minimal
    rsync rust-clippy rust-src rustc xz-utils zstd
)

# What else is done.
tool_packages=(
    ca-certificates
    # Rust for user space, and what debug kernels and linters take on top
    cargo clang-19 libclang-19-dev lld-19 llvm-19 rustfmt shellcheck
    # building an iptables extension
    libxtables-dev pkg-config
    # the virtual machine, and what goes into it
    busybox-static conntrack cpio ipset iproute2 iptables lighttpd netbase nftables qemu-system-x86
)

# prepare_root: sets root, and kernel_release, kernel_version and mirror (see debian-kernel.sh).
prepare_root() {
    check_host
    prepare_kernel_root trixie "${tool_packages[@]}"
    root=$kernel_root root_key=$kernel_root_key
}

# prepare_kernel_root SUITE [PACKAGE...]: sets kernel_root, where modules are built for the kernel of
# SUITE, beside what choose_kernel sets. It has PACKAGEs, too.
prepare_kernel_root() {
    local suite=$1 packages
    choose_kernel "$suite"
    packages=(
        "${kernel_packages[@]}" "${@:2}"
        "linux-headers-$kernel_release=$kernel_version"
        "linux-binary-$kernel_release=$kernel_version"
        "linux-modules-$kernel_release=$kernel_version"
        "linux-source-$(kernel_series)=$kernel_version"
    )
    kernel_root_key=$({ printf '%s\n' "$mirror" "$suite" "${packages[@]}" && declare -f make_root bootstrap; } | short_hash)
    cache_entry root "$kernel_root_key" make_root "$suite" "${packages[@]}"
    kernel_root=$REPLY
}

# for_kernel COMMAND...: in_root and what is made of it, where modules for the kernel are built.
for_kernel() {
    local root=$kernel_root
    "$@"
}

# check_space: the root, the kernel's source and what is built take 4 GB together.
check_space() {
    local free
    free=$(df --output=avail --block-size=1M "$cache_dir" | tail -n 1)
    ((free > 4000)) || die "$cache_dir has $free MB free, and 4000 are needed (XT_CONNLIMIT_CACHE names another place)"
}

# kernel_series: the 7.3 of 7.3.4+deb13-cloud-amd64, as in the name of the source package.
kernel_series() {
    [[ $kernel_release =~ ^([0-9]+\.[0-9]+) ]] && printf '%s' "${BASH_REMATCH[1]}"
}

# make_root SUITE PACKAGE... DIR
make_root() {
    local since=$SECONDS suite=$1 packages=("${@:2:$#-2}") dir=${*: -1} setting options=()
    check_space
    need_program mmdebstrap
    say "making the build root: Debian $suite with kernel $kernel_release (about 2 minutes, once)"
    # Nothing of it will ever be read, and it is a sixth of the files.
    for setting in doc info locale man; do options+=(--dpkgopt="path-exclude=/usr/share/$setting/*"); done
    # shellcheck disable=SC2016 # mmdebstrap sets $1
    local mount_points='cd "$1" && mkdir -p kernel out src/xt_connlimit_rs cargo && touch etc/resolv.conf'
    quietly "$cache_dir/root.log" bootstrap "$suite" "$dir" --variant=apt --dpkgopt=force-unsafe-io "${options[@]}" \
        --include="$(IFS=,; printf '%s' "${packages[*]}")" --customize-hook="$mount_points"
    say "the build root is made ($(elapsed "$since"))"
}

# bootstrap SUITE DIR OPTION...: has mmdebstrap fill DIR, with what OPTIONs say.
bootstrap() {
    local suite=$1 dir=$2 kernels setting options=() sources
    kernels=$(kernels_of "$suite")
    sources=("$(apt_source "$mirror" "$suite")")
    if [[ $kernels != "$suite" ]]; then sources+=("$(apt_source "$mirror" "$kernels")"); fi
    while IFS= read -r setting; do options+=(--aptopt="$setting"); done < <(apt_settings)
    contained mmdebstrap --mode=root --architectures=amd64 \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        "${options[@]}" "${@:3}" "$suite" "$dir" "${sources[@]}"
}

# contained COMMAND...: in mount and process namespaces of its own, all gone with everything in
# them when the command ends or this script does, in whatever way.
contained() { (exec_contained "$@"); }

# exec_contained takes the place of the subshell that it is called in: only this script itself may be
# the parent whose end ends it.
exec_contained() {
    exec setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc -- "$@"
}

# in_root [--bind SRC:DST]... [--bind-ro SRC:DST]... -- COMMAND...: run COMMAND in the build root.
# The root itself is read-only; /tmp, /run and /root are empty and its own.
in_root() { (exec_in_root "$@"); }

exec_in_root() {
    local binds=() env=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        HOME=/root LANG=C.UTF-8 "TERM=${TERM:-dumb}") name
    while [[ $1 != -- ]]; do
        binds+=("$1" "$2")
        shift 2
    done
    shift
    for name in {http,https,all,no}_proxy {HTTP,HTTPS,ALL,NO}_PROXY; do
        if [[ -v $name ]]; then env+=("$name=${!name}"); fi
    done
    exec_contained env -i "${env[@]}" bash "$lib_dir/enter-root" "$root" "${binds[@]}" -- "$@"
}
