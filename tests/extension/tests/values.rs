// SPDX-License-Identifier: GPL-2.0

//! Hostile values: whatever bytes come, there is a number or a mask, or a clear error.

use proptest::prelude::*;
use xt_connlimit::mask::{self, Family, Mask};
use xt_connlimit::number;
use xt_connlimit::options::{check, take, Given, Opt, Revision, Taken};
use xt_connlimit::rule::{Comparison, Rule, Side};
use xt_connlimit::show::Saved;

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)]
}

/// Bytes at random are hardly ever near a number or an address.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<Vec<u8>>(),
        "[-+]?[ \t]?(0|0x|0X)?[0-9a-fA-F]{0,12}[ x]?".prop_map(String::into_bytes),
        "[0-9]{1,4}(\\.[0-9]{1,4}){0,4}".prop_map(String::into_bytes),
        "[0-9a-f:]{0,42}".prop_map(String::into_bytes),
    ]
}

fn rule(family: Family) -> Rule {
    Rule {
        family,
        comparison: Comparison::Above,
        limit: 0,
        mask: Mask::full(family),
        side: Side::Source,
    }
}

proptest! {
    #[test]
    fn a_number_is_what_the_standard_library_has_it(value in value()) {
        if let Ok(number) = number::parse(&value) {
            let text = String::from_utf8(value).unwrap();
            let text = text.trim_start();
            let expected = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
                Some(digits) => u128::from_str_radix(digits, 16),
                None if text.starts_with('0') => u128::from_str_radix(text, 8),
                None => text.parse(),
            };
            prop_assert_eq!(expected.unwrap(), u128::from(number));
        }
    }

    #[test]
    fn each_number_is_taken(number: u32) {
        prop_assert_eq!(number::parse(number.to_string().as_bytes()), Ok(number));
        prop_assert_eq!(number::parse(format!("{number:#x}").as_bytes()), Ok(number));
        prop_assert_eq!(number::parse(format!("0{number:o}").as_bytes()), Ok(number));
    }

    #[test]
    fn none_beyond_32_bits_is(excess in u64::from(u32::MAX) + 1..) {
        let taken = number::parse(excess.to_string().as_bytes());
        prop_assert_eq!(taken, Err(number::Wrong::TooLarge));
    }

    #[test]
    fn each_mask_is_shown_as_it_can_be_given(bytes: [u8; 16], family in family()) {
        let mask = Mask::from_bytes(family, bytes);
        prop_assert_eq!(mask::parse(family, mask.to_string().as_bytes()), Ok(mask));
    }

    #[test]
    fn what_is_refused_changes_nothing(
        value in value(), inverted: bool, id in 0..5, taken in 0u32..32, family in family(), one: bool,
    ) {
        let option = Opt::from_id(id).unwrap();
        let revision = if one { Revision::One } else { Revision::Zero };
        let before = rule(family);
        let mut after = before;
        let given = Given { value: &value, inverted };
        if let Err(refusal) = take(&mut after, revision, Taken(taken), option, given) {
            prop_assert_eq!(before, after);
            let text = refusal.to_string();
            // One line that shows on any terminal, and fits into what it is formatted in.
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", text);
            prop_assert!(text.contains(&option.to_string()) && text.len() < 400, "{}", text);
        }
    }

    #[test]
    fn what_is_saved_makes_the_same_rule(
        limit: u32, bytes: [u8; 16], upto: bool, destination: bool, family in family(),
    ) {
        let saved = Rule {
            family,
            comparison: if upto { Comparison::Upto } else { Comparison::Above },
            limit,
            mask: Mask::from_bytes(family, bytes),
            side: if destination { Side::Destination } else { Side::Source },
        };
        let text = Saved(saved, Revision::One).to_string();
        let mut made = rule(family);
        let mut taken = Taken::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let (option, value) = match word {
                "--connlimit-upto" => (Opt::Upto, words.next()),
                "--connlimit-above" => (Opt::Above, words.next()),
                "--connlimit-mask" => (Opt::Mask, words.next()),
                "--connlimit-saddr" => (Opt::Saddr, None),
                "--connlimit-daddr" => (Opt::Daddr, None),
                _ => panic!("saved: {text}"),
            };
            let given = Given { value: value.unwrap_or_default().as_bytes(), inverted: false };
            taken = take(&mut made, Revision::One, taken, option, given).unwrap();
        }
        prop_assert_eq!(check(taken), Ok(()));
        prop_assert_eq!(made, saved);
    }
}
