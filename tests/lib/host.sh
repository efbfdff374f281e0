# shellcheck shell=bash
# What the tests of tests/host start from.

source "${BASH_SOURCE[0]%/*}/../../scripts/lib/releases.sh"

prepare_kernel

# in_checkout COMMAND...: in the build root, in this directory.
in_checkout() {
    in_build_root sh -c 'cd /src/xt_connlimit_rs && exec "$@"' - "$@"
}

# sources PATTERN: the files of the checkout whose names match, one a line. Git may not be there.
sources() {
    (cd "$checkout" && find . \( -name .git -o -name target \) -prune -o -type f -name "$1" -print)
}

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# expect TEXT PART: TEXT has PART in it.
expect() {
    [[ $1 == *"$2"* ]] || fail "this lacks «$2»:" "$1"
}
