# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Which kernel to use: the newest that a suite of Debian offers, or another one of its.

source "${BASH_SOURCE[0]%/*}/host.sh"

# apt itself depends on the package that holds it.
readonly debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
readonly oldest_kernel=7.2

# The release that is wanted, as `uname -r` prints it. Empty for the newest one.
wanted_release=

# kernels_of SUITE: where the kernels for it are, with Rust. They are built by its own compilers.
kernels_of() {
    case $1 in
    trixie) printf '%s' trixie-backports ;;
    *) printf '%s' "$1" ;;
    esac
}

# apt_source MIRROR SUITE [OPTION]: the line for it in a sources.list. Testing is not signed anew for as
# long as a mirror may lag behind.
apt_source() {
    local options="signed-by=$debian_keyring${3+ $3}"
    if [[ $2 == forky ]]; then options+=' check-valid-until=no'; fi
    printf 'deb [%s] %s %s main\n' "$options" "$1" "$2"
}

# choose_kernel SUITE: sets kernel_release (7.3.4+deb13-cloud-amd64), kernel_version (its package
# version) and mirror, which offers it. Looks them up once a day.
choose_kernel() {
    local suite remembered found
    suite=$(kernels_of "$1")
    remembered=$cache_dir/$suite-${wanted_release:-newest}-kernel
    if [[ -n $(find "$remembered" -mmin -1440 2>/dev/null) ]]; then
        read -r mirror kernel_release kernel_version <"$remembered"
        return
    fi
    mirror=$(debian_mirror)
    if [[ $wanted_release ]] && dpkg --compare-versions "$wanted_release" lt "$oldest_kernel"; then
        die "kernel $wanted_release is too old: this needs Debian's $oldest_kernel or later$(way_to_newer_kernel)"
    fi
    # In a condition, so that the one thing that may fail here, the network, can be told apart.
    if found=$(look_up_kernel "$mirror" "$suite"); then
        read -r kernel_release kernel_version <<<"$found"
        [[ $found ]] ||
            die "$suite on $mirror offers no kernel ${wanted_release:-for the cloud}$(way_to_newer_kernel)"
        dpkg --compare-versions "$kernel_version" ge "$oldest_kernel" ||
            die "$suite on $mirror offers kernel $kernel_version; this needs $oldest_kernel or later"
        mkdir -p "$cache_dir"
        printf '%s %s\n' "$mirror" "$found" >"$remembered.partial"
        mv "$remembered.partial" "$remembered"
    elif [[ -f $remembered ]]; then
        read -r mirror kernel_release kernel_version <"$remembered"
        say "the Debian mirror cannot be reached: staying with kernel $kernel_release"
    else
        die "the Debian mirror $mirror cannot be reached, and nothing has been prepared before: this needs the network once"
    fi
}

# way_to_newer_kernel: how this machine gets one that there can be a module for, as the rest of a message.
way_to_newer_kernel() {
    local flavour=amd64
    if [[ $(host_codename) != trixie ]]; then
        printf ', as trixie-backports and forky have them: upgrade this machine to one of these'
        return
    fi
    if [[ $wanted_release =~ (cloud|rt)-amd64$ ]]; then flavour=${BASH_REMATCH[0]}; fi
    cat <<END
. These two commands install one; then boot it, and begin again:
    echo 'deb $mirror trixie-backports main' >/etc/apt/sources.list.d/trixie-backports.list
    apt update && apt install -t trixie-backports linux-image-$flavour
END
}

# look_up_kernel MIRROR SUITE: prints release and package version. An apt with its own state directory
# asks, so that the host's package lists and sources stay as they are.
look_up_kernel() {
    local state package=linux-image-${wanted_release:-cloud-amd64} found
    state=$(mktemp -d)
    mkdir -p "$state/lists/partial" "$state/cache"
    : >"$state/status"
    apt_source "$1" "$2" target=Packages >"$state/sources.list"
    cat >"$state/apt.conf" <<END
Dir::State "$state";
Dir::State::lists "$state/lists";
Dir::State::status "$state/status";
Dir::Cache "$state/cache";
Dir::Etc::SourceList "$state/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
APT::Default-Release "";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
    found=$(
        apt-get -c "$state/apt.conf" --error-on=any -qq update >&2 &&
            { apt-cache -c "$state/apt.conf" show --no-all-versions "$package" 2>/dev/null || true; }
    ) || { rm -rf "$state" && return 1; }
    rm -rf "$state"
    if [[ $wanted_release ]]; then
        sed -nE "s/^Version: /$wanted_release /p" <<<"$found"
    else
        # Depends: ..., linux-image-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), ...
        sed -nE '/^Depends:/ s/.*linux-image-([0-9][^ ]*) \(= ([^)]*)\).*/\1 \2/p' <<<"$found"
    fi
}
