# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Fuzzing on this machine, by libFuzzer.

source "${BASH_SOURCE[0]%/*}/host.sh"

# What the compiler adds for libFuzzer, in a directory of its own.
coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Ccodegen-units=1 -Cdebug-assertions'
cargo_target+=/fuzz
cargo_env=(env CARGO_HOME=/cargo "CARGO_TARGET_DIR=/$cargo_target" CXX=clang++-19
    "RUSTFLAGS=--cfg fuzzing ${coverage//$'\n'/ }")

# covered LINE LOG: how many branches had been seen by the time of the line that LOG has of libFuzzer.
covered() {
    sed -nE "s/^#[0-9]+\s+$1\s+cov: ([0-9]+) .*/\1/p" "$2" | head -n 1
}

# fuzz PACKAGE CORPUS: what is in tests/corpus/CORPUS, and then for FUZZ_SECONDS what can be made of it.
# What comes upon a new branch is kept in the cache, and what fails in tests/corpus/CORPUS.
fuzz() {
    local binary=/$cargo_target/x86_64-unknown-linux-gnu/release/$1 corpus=/src/xt_connlimit_rs/tests/corpus/$2
    local found=/cargo/corpus/$2 log seen all
    in_cargo build --release --locked --target x86_64-unknown-linux-gnu -p "$1"
    mkdir -p "$cache_dir$found"

    log=$(mktemp)
    # shellcheck disable=SC2064 # the file of this call
    trap "rm -f '$log'" EXIT
    in_build_root "$binary" -runs=0 "$corpus" &>"$log" || fail "$(<"$log")"
    seen=$(covered DONE "$log")
    in_build_root "$binary" -max_total_time="${FUZZ_SECONDS:-2}" -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="$corpus/" "$found" "$corpus" &>"$log" || fail "$(<"$log")"
    tail -n 8 "$log"
    all=$(covered DONE "$log")
    [[ $seen && $all ]] || fail "libFuzzer does not tell how much it has covered"
    # Else fuzzing begins with less than it could: `-set_cover_merge=1` makes a better corpus.
    ((seen * 100 >= all * 90)) || fail "of $all branches, the corpus of $2 comes upon $seen only"
}
