# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Which kernel to use: the newest that Debian's backports offer, or another one of theirs.

source "${BASH_SOURCE[0]%/*}/host.sh"

# apt itself depends on the package that holds it.
readonly debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
readonly suite=trixie
readonly oldest_kernel=7.3

# The release that is wanted, as `uname -r` prints it. Empty for the newest one.
wanted_release=

# choose_kernel: sets kernel_release (7.3.4+deb13-cloud-amd64), kernel_version (its package version)
# and mirror, which offers it. Looks them up once a day.
choose_kernel() {
    local remembered=$cache_dir/${wanted_release:-newest}-kernel found
    if [[ -n $(find "$remembered" -mmin -1440 2>/dev/null) ]]; then
        read -r mirror kernel_release kernel_version <"$remembered"
        return
    fi
    mirror=$(debian_mirror)
    # In a condition, so that the one thing that may fail here, the network, can be told apart.
    if found=$(look_up_kernel "$mirror"); then
        read -r kernel_release kernel_version <<<"$found"
        [[ $found ]] || die "$suite-backports on $mirror offers no kernel ${wanted_release:-for the cloud}"
        dpkg --compare-versions "$kernel_version" ge "$oldest_kernel" ||
            die "$suite-backports on $mirror offers kernel $kernel_version; this needs $oldest_kernel or later"
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

# look_up_kernel MIRROR: prints release and package version. An apt with its own state directory
# asks, so that the host's package lists and sources stay as they are.
look_up_kernel() {
    local state package=linux-image-${wanted_release:-cloud-amd64} found
    state=$(mktemp -d)
    mkdir -p "$state/lists/partial" "$state/cache"
    : >"$state/status"
    printf 'deb [signed-by=%s target=Packages] %s %s-backports main\n' "$debian_keyring" "$1" "$suite" \
        >"$state/sources.list"
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
