// SPDX-License-Identifier: GPL-2.0

//! Has libFuzzer look for histories that the counting engine gets wrong.

#![no_main]

use engine::history::{run, History};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|history: History| run(&history.within_bounds()));
