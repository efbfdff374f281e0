// SPDX-License-Identifier: GPL-2.0

//! The options, and what each does to a rule.

use core::ffi::CStr;
use core::fmt;

use crate::mask;
use crate::number;
use crate::rule::{Comparison, Rule, Side};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt {
    Upto,
    Above,
    Mask,
    Saddr,
    Daddr,
}

impl Opt {
    pub const ALL: [Opt; 5] = [Opt::Upto, Opt::Above, Opt::Mask, Opt::Saddr, Opt::Daddr];

    pub const fn name(self) -> &'static CStr {
        match self {
            Opt::Upto => c"connlimit-upto",
            Opt::Above => c"connlimit-above",
            Opt::Mask => c"connlimit-mask",
            Opt::Saddr => c"connlimit-saddr",
            Opt::Daddr => c"connlimit-daddr",
        }
    }

    pub const fn has_value(self) -> bool {
        matches!(self, Opt::Upto | Opt::Above | Opt::Mask)
    }

    /// The number by which C knows it.
    pub const fn id(self) -> i32 {
        self as i32
    }

    pub fn from_id(id: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|option| option.id() == id)
    }

    const fn may_be_inverted(self) -> bool {
        matches!(self, Opt::Upto | Opt::Above)
    }

    const fn excludes(self) -> Option<Opt> {
        match self {
            Opt::Upto => Some(Opt::Above),
            Opt::Above => Some(Opt::Upto),
            Opt::Mask => None,
            Opt::Saddr => Some(Opt::Daddr),
            Opt::Daddr => Some(Opt::Saddr),
        }
    }
}

impl fmt::Display for Opt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"--{}\"", self.name().to_str().unwrap_or_default())
    }
}

/// Which options a rule has been given so far, in the word that iptables keeps for each rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken(pub u32);

impl Taken {
    pub fn has(self, option: Opt) -> bool {
        self.0 & (1 << option.id()) != 0
    }

    fn with(self, option: Opt) -> Self {
        Self(self.0 | (1 << option.id()))
    }
}

/// As C has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// Knows no direction: it counts for the source.
    Zero,
    One,
}

/// What came with an option.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub value: &'a [u8],
    /// There was a `!` before it.
    pub inverted: bool,
}

/// Why options were refused, as it is told to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    Number(Opt, &'a [u8], number::Wrong),
    Mask(Opt, &'a [u8], mask::Wrong),
    Twice(Opt),
    Inverted(Opt),
    NoDirection(Opt),
    Together(Opt, Opt),
    NoComparison,
}

/// Has the option change the rule. What is refused changes nothing.
pub fn take<'a>(
    rule: &mut Rule,
    revision: Revision,
    taken: Taken,
    option: Opt,
    given: Given<'a>,
) -> Result<Taken, Refusal<'a>> {
    if taken.has(option) {
        return Err(Refusal::Twice(option));
    }
    if given.inverted && !option.may_be_inverted() {
        return Err(Refusal::Inverted(option));
    }
    match option {
        Opt::Upto | Opt::Above => {
            rule.limit = number::parse(given.value)
                .map_err(|wrong| Refusal::Number(option, given.value, wrong))?;
            rule.comparison = if (option == Opt::Upto) != given.inverted {
                Comparison::Upto
            } else {
                Comparison::Above
            };
        }
        Opt::Mask => {
            rule.mask = mask::parse(rule.family, given.value)
                .map_err(|wrong| Refusal::Mask(option, given.value, wrong))?;
        }
        Opt::Saddr | Opt::Daddr if revision == Revision::Zero => {
            return Err(Refusal::NoDirection(option));
        }
        Opt::Saddr => rule.side = Side::Source,
        Opt::Daddr => rule.side = Side::Destination,
    }
    Ok(taken.with(option))
}

/// Whether these options, all that were given, make a rule.
pub fn check(taken: Taken) -> Result<(), Refusal<'static>> {
    if !taken.has(Opt::Upto) && !taken.has(Opt::Above) {
        return Err(Refusal::NoComparison);
    }
    for option in Opt::ALL {
        if let Some(other) = option.excludes() {
            if taken.has(option) && taken.has(other) {
                return Err(Refusal::Together(option, other));
            }
        }
    }
    Ok(())
}

/// A value that was refused. More than this of it says nothing more.
struct Shown<'a>(&'a [u8]);

impl Shown<'_> {
    const LENGTH: usize = 40;
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(value) = *self;
        match value.get(..Self::LENGTH) {
            Some(start) if start.len() < value.len() => {
                write!(f, "\"{}...\"", start.escape_ascii())
            }
            _ => write!(f, "\"{}\"", value.escape_ascii()),
        }
    }
}

/// Where libxtables has a message for its own extensions, it is the same.
impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self != Refusal::NoComparison {
            f.write_str("connlimit: ")?;
        }
        match *self {
            Refusal::Number(option, value, wrong) => write!(
                f,
                "bad value for option {option}: {} {wrong}: expected a number from 0 to {}",
                Shown(value),
                u32::MAX
            ),
            Refusal::Mask(option, value, wrong) => {
                write!(f, "bad value for option {option}: {} {wrong}", Shown(value))
            }
            Refusal::Twice(option) => write!(f, "option {option} can only be used once."),
            Refusal::Inverted(option) => write!(f, "option {option} cannot be inverted."),
            Refusal::NoDirection(option) => write!(
                f,
                "the kernel has no revision 1 of the match, which option {option} needs: most \
                 likely no match is loaded at all. `modprobe xt_connlimit` loads one, or says why \
                 it cannot"
            ),
            Refusal::Together(option, other) => {
                write!(f, "option {option} cannot be used together with {other}.")
            }
            Refusal::NoComparison => {
                write!(f, "You must specify {} or {}.", Opt::Above, Opt::Upto)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::{Family, Mask};

    const BLANK: Rule = Rule {
        family: Family::Ipv4,
        comparison: Comparison::Above,
        limit: 0,
        mask: Mask::full(Family::Ipv4),
        side: Side::Source,
    };

    fn given(value: &[u8]) -> Given<'_> {
        Given {
            value,
            inverted: false,
        }
    }

    fn refusal(revision: Revision, taken: Taken, option: Opt, given: Given<'_>) -> String {
        let mut rule = BLANK;
        let refusal = take(&mut rule, revision, taken, option, given).unwrap_err();
        assert_eq!(rule, BLANK);
        refusal.to_string()
    }

    #[test]
    fn comparisons() {
        use Comparison::{Above, Upto};
        for (option, inverted, comparison) in [
            (Opt::Upto, false, Upto),
            (Opt::Upto, true, Above),
            (Opt::Above, false, Above),
            (Opt::Above, true, Upto),
        ] {
            let mut rule = BLANK;
            let given = Given {
                value: b"25",
                inverted,
            };
            take(&mut rule, Revision::One, Taken(0), option, given).unwrap();
            assert_eq!((rule.comparison, rule.limit), (comparison, 25));
        }
    }

    #[test]
    fn directions() {
        for (option, side) in [(Opt::Saddr, Side::Source), (Opt::Daddr, Side::Destination)] {
            let mut rule = BLANK;
            take(&mut rule, Revision::One, Taken(0), option, given(b"")).unwrap();
            assert_eq!(rule.side, side);
        }
        assert_eq!(
            refusal(Revision::Zero, Taken(0), Opt::Daddr, given(b"")),
            "connlimit: the kernel has no revision 1 of the match, which option \"--connlimit-daddr\" \
             needs: most likely no match is loaded at all. `modprobe xt_connlimit` loads one, or \
             says why it cannot"
        );
    }

    #[test]
    fn bad_values() {
        assert_eq!(
            refusal(Revision::One, Taken(0), Opt::Above, given(b"12x")),
            "connlimit: bad value for option \"--connlimit-above\": \"12x\" is not a number: \
             expected a number from 0 to 4294967295"
        );
        assert_eq!(
            refusal(Revision::One, Taken(0), Opt::Mask, given(b"33")),
            "connlimit: bad value for option \"--connlimit-mask\": \"33\" is longer than an address: \
             expected a prefix length from 0 to 32, or a netmask such as 255.255.255.0"
        );
        let text = refusal(Revision::One, Taken(0), Opt::Above, given(b"\xff\n"));
        assert!(text.contains(r#""\xff\n" is"#), "{text}");
        let text = refusal(Revision::One, Taken(0), Opt::Above, given(&[b'a'; 1000]));
        assert!(text.contains(r#"aaa..." is"#), "{text}");
    }

    #[test]
    fn combinations() {
        let mut rule = BLANK;
        let mut taken = Taken(0);
        for (option, value) in [
            (Opt::Above, "1"),
            (Opt::Mask, "24"),
            (Opt::Saddr, ""),
            (Opt::Daddr, ""),
        ] {
            taken = take(
                &mut rule,
                Revision::One,
                taken,
                option,
                given(value.as_bytes()),
            )
            .unwrap();
        }
        assert_eq!(
            check(taken).unwrap_err().to_string(),
            "connlimit: option \"--connlimit-saddr\" cannot be used together with \"--connlimit-daddr\"."
        );
        assert_eq!(
            check(Taken(0).with(Opt::Mask)).unwrap_err().to_string(),
            "You must specify \"--connlimit-above\" or \"--connlimit-upto\"."
        );
        assert_eq!(
            refusal(Revision::One, taken, Opt::Mask, given(b"24")),
            "connlimit: option \"--connlimit-mask\" can only be used once."
        );
        let inverted = Given {
            value: b"24",
            inverted: true,
        };
        assert_eq!(
            refusal(Revision::One, Taken(0), Opt::Mask, inverted),
            "connlimit: option \"--connlimit-mask\" cannot be inverted."
        );
        assert_eq!(check(Taken(0).with(Opt::Upto)), Ok(()));
    }
}
