// SPDX-License-Identifier: GPL-2.0

//! What comes behind `-m connlimit`.

use xt_connlimit::info::Info;
use xt_connlimit::mask::Family;
use xt_connlimit::options::{check, Given, Opt, Revision, Taken};

/// Options for a family and a revision of the match.
#[derive(Clone)]
pub struct Command<'a> {
    pub family: Family,
    pub revision: Revision,
    pub words: Vec<&'a [u8]>,
}

impl<'a> Command<'a> {
    /// One word a line. The first line names the family, `4` or `6`; behind it, `0` is for the old
    /// revision.
    pub fn parse(input: &'a [u8]) -> Self {
        let mut lines = input.split(|&byte| byte == b'\n');
        let first = lines.next().unwrap_or_default();
        Self {
            family: match first.first() {
                Some(b'6') => Family::Ipv6,
                _ => Family::Ipv4,
            },
            revision: match first.get(1) {
                Some(b'0') => Revision::Zero,
                _ => Revision::One,
            },
            // Words end at a NUL in C.
            words: lines
                .map(|word| word.split(|&byte| byte == 0).next().unwrap_or_default())
                .collect(),
        }
    }

    /// What iptables would hand to the kernel, or the message that it would end with. Words that are
    /// no options do not get as far as the extension.
    pub fn run(&self) -> Result<Info, String> {
        let mut info = Info::BLANK;
        let mut taken = Taken::default();
        let mut inverted = false;
        let mut words = self.words.iter().copied();
        while let Some(word) = words.next() {
            if word == b"!" {
                inverted = true;
                continue;
            }
            let Some((option, value)) = option(word) else {
                continue;
            };
            let value = match value {
                Some(value) => value,
                None if option.has_value() => words.next().unwrap_or_default(),
                None => b"",
            };
            let given = Given { value, inverted };
            inverted = false;
            let before = info;
            match info.take(self.family, self.revision, taken, option, given) {
                Ok(now) => taken = now,
                Err(refusal) => {
                    assert_eq!(info, before, "what is refused changes nothing");
                    return Err(refusal.to_string());
                }
            }
        }
        check(taken).map_err(|refusal| refusal.to_string())?;
        Ok(info)
    }
}

/// `--NAME` or `--NAME=VALUE`.
fn option(word: &[u8]) -> Option<(Opt, Option<&[u8]>)> {
    let word = word.strip_prefix(b"--")?;
    let end = word.iter().position(|&byte| byte == b'=');
    let name = &word[..end.unwrap_or(word.len())];
    let option = Opt::ALL
        .into_iter()
        .find(|it| it.name().to_bytes() == name)?;
    Some((option, end.map(|end| &word[end + 1..])))
}
