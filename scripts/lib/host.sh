# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the machine must offer, and where its Debian packages come from.

source "${BASH_SOURCE[0]%/*}/common.sh"

# check_host: everything that could stop a preparation half way is looked at before it starts.
check_host() {
    ((EUID == 0)) || die "this must be run as root: it makes a Debian root directory and changes into it"
    [[ -f /etc/debian_version && -x /usr/bin/apt-get ]] ||
        die "this machine is no Debian (there is no apt-get here): the build root is made from Debian packages by Debian's tools"
    local arch
    arch=$(dpkg --print-architecture)
    [[ $arch == amd64 ]] || die "the VM runs Debian's amd64 kernel; this machine is $arch"
    unshare --mount --pid --fork true 2>/dev/null ||
        die "this machine does not let root make mount namespaces (is this a container without privileges?)"
}

# debian_mirror: the mirror that the host's own apt uses for Debian itself.
debian_mirror() {
    local codename release uri found=
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # apt-get expands this
    local format='$(RELEASE) $(REPO_URI)'
    while read -r release uri; do
        case $release in
        "$codename") found=$uri && break ;;
        # Not debian-security and its like, which hold no complete suites, nor other people's archives.
        oldstable | stable | testing | unstable | bookworm | trixie | forky | sid) found=${found:-$uri} ;;
        esac
    # Without release info this works before the first apt-get update too.
    done < <(apt-get indextargets --no-release-info --format "$format" 'Identifier: Packages' 'Component: main')
    [[ -n $found ]] || die "apt on this machine has no Debian mirror configured (see /etc/apt/sources.list)"
    printf '%s' "${found%/}"
}

# apt_settings: how the host's apt reaches its mirror and how far it trusts its clock, one a line,
# for the other apts that are to use the same mirror.
apt_settings() {
    apt-config dump | grep -E '^Acquire::((http|https|ftp)::|Check-Valid-Until |Check-Date |Retries )' || true
}

# need_program NAME: install the package of this name on the host, if it is missing.
need_program() {
    local log=$cache_dir/install.log
    if command -v "$1" >/dev/null; then return; fi
    say "installing on this machine: $1"
    # Fails where apt-get update was never run, or so long ago that the mirror has moved on.
    if ! install_package "$1" &>"$log"; then
        quietly "$log" apt-get update
        quietly "$log" install_package "$1"
    fi
}

install_package() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$1" </dev/null
}
