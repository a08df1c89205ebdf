//! Numbers of seeds on a command line.

use std::collections::BTreeSet;
use std::str::FromStr;

/// More are a slip of the pen.
const MOST: u64 = 10_000;

/// `0..19` or `3` or `0..4,7`, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seeds(pub(super) BTreeSet<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut seeds = BTreeSet::new();
        for part in text.split(',') {
            let (low, high) = part.split_once("..").unwrap_or((part, part));
            let number = |text: &str| {
                text.trim().parse::<u64>().map_err(|_| {
                    format!(
                        "{part:?} is no seed; seeds are numbers and ranges, as in 0..19 or 0..4,7"
                    )
                })
            };
            let (low, high) = (number(low)?, number(high)?);
            if low > high || high - low >= MOST {
                return Err(format!("{part:?} must go up, by less than {MOST}"));
            }
            seeds.extend(low..=high);
        }
        Ok(Self(seeds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends() {
        let seeds = |text: &str| text.parse::<Seeds>().map(|seeds| seeds.0.into_iter().collect());
        assert_eq!(seeds("0..3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(seeds("7"), Ok(vec![7]));
        assert_eq!(seeds("9,0..1,1"), Ok(vec![0, 1, 9]));
    }

    #[test]
    fn what_is_no_seed_is_said_in_a_sentence() {
        for text in ["", "a", "1..", "..3", "-1", "5..2", "0..18446744073709551615", "1,,2"] {
            assert!(text.parse::<Seeds>().is_err(), "{text}");
        }
    }
}
