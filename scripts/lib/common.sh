# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What every script here starts from: strict mode, messages, where things are.

set -euo pipefail
# Without this a failing command inside $(...) goes unnoticed.
shopt -s inherit_errexit

lib_dir=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
checkout=${lib_dir%/scripts/lib}
cache_dir=$(realpath -m "${XT_CONNLIMIT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/xt_connlimit_rs}")

# All messages go to stderr: stdout belongs to what the caller asked for.
say() { printf '==> %s\n' "$*" >&2; }

# Scripts whose status 1 means something else say so here.
die_status=1

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit "$die_status"
}

# offer_help ARGUMENT...: for -h and --help, what the script says about itself at its beginning.
offer_help() {
    case ${1-} in
    -h | --help) sed -n '4,/^$/s/^# \{0,1\}//p' "$0" && exit ;;
    esac
}

# elapsed SINCE: whole seconds since $SECONDS was SINCE, as "42 s" or "2 min 5 s".
elapsed() {
    local s=$((SECONDS - $1))
    if ((s < 60)); then printf '%d s' "$s"; else printf '%d min %d s' $((s / 60)) $((s % 60)); fi
}

# short_hash: the first 12 hex digits of the SHA-256 of stdin, enough to name a cache entry.
short_hash() {
    local sum
    sum=$(sha256sum)
    printf '%s' "${sum:0:12}"
}

# code_of FILE...: what they do, without what they say about it, to name cache entries by.
code_of() { grep -hvE '^\s*(#|$)' "$@"; }

# quietly LOG COMMAND...: the output goes to LOG, and its end is shown if the command fails.
quietly() {
    local log=$1 status=0
    shift
    printf '# %s\n' "$*" >"$log"
    "$@" >>"$log" 2>&1 </dev/null || status=$?
    if ((status != 0)); then
        tail -n 30 "$log" >&2
        die "that failed with status $status (whole output: $log)"
    fi
}
