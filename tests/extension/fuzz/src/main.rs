// SPDX-License-Identifier: GPL-2.0

//! Has libFuzzer look for options that libxt_connlimit gets wrong.

#![no_main]

mod command;

use std::fmt::Display;

use command::Command;
use libfuzzer_sys::fuzz_target;
use xt_connlimit::show::{Listed, Saved};
use xt_connlimit::text::Text;
use xt_connlimit::translate::{Set, Statement};

fuzz_target!(|input: &[u8]| try_out(&Command::parse(input)));

/// What is accepted is shown, and saved as options that make the same rule, all bytes of it. What is
/// refused is told why.
fn try_out(command: &Command) {
    let info = match command.run() {
        Ok(info) => info,
        Err(refusal) => return assert_line(refusal),
    };
    let rule = info.rule(command.family);
    let saved = Saved(rule, command.revision).to_string();
    assert_line(&saved);
    assert_line(Listed(rule));
    assert_line(Set(rule, u32::MAX));
    assert_line(Statement(rule, u32::MAX));

    let again = Command {
        words: saved.split_whitespace().map(str::as_bytes).collect(),
        ..command.clone()
    };
    assert_eq!(again.run(), Ok(info), "saved as{saved}");
}

/// One line that any terminal shows, and that is whole in the memory that C gets it in.
fn assert_line(what: impl Display) {
    let text = what.to_string();
    let printable = |byte: u8| (b' '..=b'~').contains(&byte);
    assert!(!text.is_empty() && text.bytes().all(printable), "{text}");
    let line = Text::<512>::of(&text);
    assert_eq!(line.as_c_str().to_bytes(), text.as_bytes());
}
