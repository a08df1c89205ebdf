//! Time zones as POSIX rules: they need no database on the machine, so that a seed means the same traffic
//! everywhere.

use jiff::tz::TimeZone;

use super::chance::Chance;

/// Rules in force in 2026: without and with clock changes, north and south, and one with 15 minutes.
const RULES: [&str; 8] = [
    "UTC0",
    "UTC0",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "EST5EDT,M3.2.0,M11.1.0",
    "JST-9",
    "<+0545>-5:45",
    "AEST-10AEDT,M10.1.0,M4.1.0/3",
    "GMT0BST,M3.5.0/1,M10.5.0",
];

/// One of some zones; a quarter of them is UTC.
pub(super) fn draw(chance: &mut Chance) -> TimeZone {
    let rule = chance.pick(RULES);
    if rule == "UTC0" {
        return TimeZone::UTC;
    }
    TimeZone::posix(rule).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_understood() {
        for rule in RULES {
            assert!(TimeZone::posix(rule).is_ok(), "{rule}");
        }
    }
}
