// SPDX-License-Identifier: GPL-2.0

//! Numbers, as all of iptables takes them: decimal, octal after `0`, hexadecimal after `0x`.

use core::fmt;

/// Why a value is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It has something in it that is no digit, or nothing at all.
    NoNumber,
    Sign,
    /// It begins with a zero, and has an 8 or 9.
    Octal,
    TooLarge,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrong::NoNumber => "is not a number",
            Wrong::Sign => "has a sign",
            Wrong::Octal => "begins with a zero, as octal numbers do, but is none",
            Wrong::TooLarge => "is too large",
        })
    }
}

/// The number that `value` is. As in strtoul(3), blanks may come before it.
pub fn parse(value: &[u8]) -> Result<u32, Wrong> {
    let value = value.trim_ascii_start();
    let (digits, base) = match value {
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'0', _, ..] => (value, 8),
        [b'+' | b'-', ..] => return Err(Wrong::Sign),
        _ => (value, 10),
    };
    if digits.is_empty() {
        return Err(Wrong::NoNumber);
    }
    let mut number = Ok(0u32);
    for &byte in digits {
        let byte = char::from(byte);
        match byte.to_digit(base) {
            Some(digit) => {
                number = number.and_then(|number| {
                    number
                        .checked_mul(base)
                        .and_then(|number| number.checked_add(digit))
                        .ok_or(Wrong::TooLarge)
                });
            }
            None if base == 8 && digits.iter().all(u8::is_ascii_digit) => return Err(Wrong::Octal),
            None => return Err(Wrong::NoNumber),
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases() {
        assert_eq!(parse(b"0"), Ok(0));
        assert_eq!(parse(b"25"), Ok(25));
        assert_eq!(parse(b"010"), Ok(8));
        assert_eq!(parse(b"0x10"), Ok(16));
        assert_eq!(parse(b"0XfF"), Ok(255));
        assert_eq!(parse(b" \t25"), Ok(25));
        assert_eq!(parse(b"4294967295"), Ok(u32::MAX));
        assert_eq!(parse(b"0xffffffff"), Ok(u32::MAX));
        assert_eq!(parse(b"037777777777"), Ok(u32::MAX));
        assert_eq!(parse(b"000000000000000"), Ok(0));
    }

    #[test]
    fn wrong() {
        for value in [
            "", " ", "x", "0x", "0xg", "1x", "25 ", "1 2", "1e3", "0b1", "٣", "12junk",
        ] {
            assert_eq!(parse(value.as_bytes()), Err(Wrong::NoNumber), "{value}");
        }
        for value in ["-1", "+1", " -0", "-"] {
            assert_eq!(parse(value.as_bytes()), Err(Wrong::Sign), "{value}");
        }
        for value in ["08", "0129"] {
            assert_eq!(parse(value.as_bytes()), Err(Wrong::Octal), "{value}");
        }
        for value in [
            "4294967296",
            "0x100000000",
            "040000000000",
            "99999999999999999999999",
        ] {
            assert_eq!(parse(value.as_bytes()), Err(Wrong::TooLarge), "{value}");
        }
    }
}
