// SPDX-License-Identifier: GPL-2.0

//! Text for C, in memory of a fixed size.

use core::ffi::CStr;
use core::fmt;

/// Up to `N - 1` bytes of text. What does not fit is left out.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// The text of what can be displayed.
    pub fn of(what: impl fmt::Display) -> Self {
        let mut text = Self {
            bytes: [0; N],
            len: 0,
        };
        // `write_str` never fails, and what is displayed here does not by itself.
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{what}"));
        text
    }

    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = N.saturating_sub(1).saturating_sub(self.len);
        let mut taken = s.len().min(room);
        while !s.is_char_boundary(taken) {
            taken -= 1;
        }
        if let Some(free) = self.bytes.get_mut(self.len..self.len + taken) {
            free.copy_from_slice(&s.as_bytes()[..taken]);
            self.len += taken;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        assert_eq!(Text::<8>::of("connlim").as_c_str(), c"connlim");
    }

    #[test]
    fn what_does_not() {
        assert_eq!(Text::<8>::of("connlimit").as_c_str(), c"connlim");
        assert_eq!(Text::<4>::of("aäöü").as_c_str(), c"a\u{e4}");
        assert_eq!(Text::<1>::of("a").as_c_str(), c"");
        assert_eq!(Text::<0>::of("a").as_c_str(), c"");
    }
}
