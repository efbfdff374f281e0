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
    check_namespaces
}

# check_namespaces: those that the build root is entered in. A namespace begins with making the root's
# mounts its own: a root that is none, as that of a chroot, cannot be.
check_namespaces() {
    if unshare --mount --pid --fork true 2>/dev/null; then return; fi
    if unshare --mount --pid --fork --propagation unchanged true 2>/dev/null; then
        die "the root directory is no mount point here: where this is a chroot, leave it," \
            "\`mount --bind DIR DIR\` with DIR for its directory, and enter it again"
    fi
    die "this machine does not let root make mount namespaces (is this a container without privileges?)"
}

# host_codename: of the Debian that this is.
host_codename() { (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}"); }

# debian_mirror: the mirror that the host's own apt uses for Debian itself.
debian_mirror() {
    local codename release uri found=
    codename=$(host_codename)
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

# need_program NAME: install the package of this name on the host, if it is missing. It is marked as one
# that nobody has asked for, as those that it needs are.
need_program() {
    local log=$cache_dir/install.log before
    if command -v "$1" >/dev/null; then return; fi
    say "installing on this machine: $1 and what it needs"
    before=$(installed_packages)
    # Fails where apt-get update was never run, or so long ago that the mirror has moved on.
    if ! install_package "$1" &>"$log"; then
        quietly "$log" apt-get update
        quietly "$log" install_package "$1"
    fi
    quietly "$log" apt-mark auto "$1"
    say "installed: $(comm -13 <(printf '%s\n' "$before") <(installed_packages) | xargs)" \
        "(\`apt autoremove\` takes them away again)"
}

installed_packages() { dpkg-query --show --showformat '${Package}\n' | LC_ALL=C sort -u; }

install_package() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$1" </dev/null
}
