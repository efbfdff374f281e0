# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The cache: directories NAME-KEY that are either whole or not there.
#
# An entry is made as NAME-KEY.partial and renamed once it is whole, so whatever was interrupted is
# never mistaken for an entry. It is never changed afterwards.

source "${BASH_SOURCE[0]%/*}/common.sh"

readonly manifest=.manifest

# outline DIR: what lies in the top two levels of an entry, with the sizes of files. Cheap enough to
# be compared at every use, and notices an entry that somebody has been tidying up in.
outline() {
    (cd "$1" && find . -mindepth 1 -maxdepth 2 ! -name "$manifest" \
        \( -type f -printf '%P %s\n' -o -printf '%P\n' \) | LC_ALL=C sort)
}

entry_is_whole() {
    [[ -f $1/$manifest ]] && cmp -s "$1/$manifest" <(outline "$1")
}

# with_lock NAME COMMAND...: run COMMAND while no other run of these scripts does so for NAME.
# The command inherits the lock: whatever outlives a killed script goes on holding it.
with_lock() {
    local lock
    mkdir -p "$cache_dir"
    exec {lock}>"$cache_dir/$1.lock"
    if ! flock --timeout 1 "$lock"; then
        say "waiting for another run that is making the same thing ($1)"
        flock "$lock"
    fi
    shift
    "$@"
    exec {lock}>&-
}

# cache_entry NAME KEY MAKER...: sets REPLY to the directory of the entry. If there is none,
# `MAKER... DIR` is run to fill the empty directory DIR.
cache_entry() {
    local name=$1 key=$2
    REPLY=$cache_dir/$name-$key
    entry_is_whole "$REPLY" || with_lock "$name" make_entry "$@"
    REPLY=$cache_dir/$name-$key
    # For prune_entries.
    touch "$REPLY"
}

make_entry() {
    local name=$1 key=$2 dir=$cache_dir/$1-$2
    shift 2
    # Another run may have made it while this one waited for the lock.
    entry_is_whole "$dir" && return
    if [[ -e $dir ]]; then
        say "$dir is damaged: making it again"
        rm -rf --one-file-system "$dir"
    fi
    # The lock is held, so nobody is working in what is left of earlier runs.
    rm -rf --one-file-system "$cache_dir/$name"-*.partial
    mkdir -p "$dir.partial"
    "$@" "$dir.partial"
    outline "$dir.partial" >"$cache_dir/$name.manifest.partial"
    mv "$cache_dir/$name.manifest.partial" "$dir.partial/$manifest"
    # The rename must not reach the disk before the contents do.
    sync --file-system "$dir.partial"
    mv "$dir.partial" "$dir"
    prune_entries "$name"
    tell_size "$dir"
}

# megabytes DIR
megabytes() { du -s --block-size=1M "$1" | cut -f 1; }

# tell_size ENTRY: where it is one that somebody may want the space of.
tell_size() {
    local size
    size=$(megabytes "$1")
    if ((size < 100)); then return; fi
    say "it takes $size MB; all that is kept in $cache_dir takes $(megabytes "$cache_dir") MB" \
        "(scripts/cache shows it, and empties it)"
}

# prune_entries NAME: entries that nobody has used for a week go, but for the two newest.
prune_entries() {
    local used dir
    while read -r used dir; do
        if ((used > EPOCHSECONDS - 7 * 86400)); then continue; fi
        say "removing $dir, unused for a week"
        rm -rf --one-file-system "$dir"
    done < <(stat --format '%Y %n' "$cache_dir/$1"-*/ | sort -rn | tail -n +3)
}

# make_run_dir: sets REPLY to a new directory for the files of this run, and removes those of runs
# that were killed. A run holds a lock on its directory for as long as any process of it lives.
make_run_dir() { with_lock run make_run_dir_locked; }

make_run_dir_locked() {
    local dir lock
    mkdir -p "$cache_dir/run"
    for dir in "$cache_dir"/run/*/; do
        if [[ -d $dir ]] && flock --nonblock "$dir" true; then rm -rf --one-file-system "$dir"; fi
    done
    REPLY=$(mktemp -d "$cache_dir/run/XXXXXX")
    exec {lock}<"$REPLY"
    flock "$lock"
}
