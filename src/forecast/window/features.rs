//! The feature list of the learned forecaster: the one source of its input shapes.
//!
//! Everything is relative to the window itself: logarithms of ratios, in units of the error that the simple forecast
//! (level times [`usual`](crate::forecast::usual)) made in the last day. So a service of 20 requests per
//! second and one of 20,000 look alike, and nothing has to be remembered of a series.

use std::fmt::Write as _;

/// One input: its name, its unit and the limit at which it is cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feature {
    /// The name.
    pub name: &'static str,
    /// The unit.
    pub unit: &'static str,
    /// It is kept between minus this and this.
    pub limit: f32,
}

const fn feature(name: &'static str, unit: &'static str, limit: f32) -> Feature {
    Feature { name, unit, limit }
}

/// Unit of what is divided by the simple forecast's error.
const ERRORS: &str = "ln ratio / error of the simple forecast";
/// Unit of flags and shares.
const SHARE: &str = "0 to 1";
const RATIO: &str = "ln ratio";

/// What is known of each token of the past.
pub const PAST: [Feature; 13] = [
    feature("deviation", ERRORS, 10.0),
    feature("change", ERRORS, 10.0),
    feature("usual", RATIO, 3.0),
    feature("missing", SHARE, 1.0),
    feature("error", ERRORS, 10.0),
    feature("leader", ERRORS, 10.0),
    feature("others", ERRORS, 10.0),
    feature("promotion", RATIO, 3.0),
    feature("promotion elsewhere", RATIO, 3.0),
    feature("deployment", SHARE, 1.0),
    feature("day sine", "-1 to 1", 1.0),
    feature("day cosine", "-1 to 1", 1.0),
    feature("day off", SHARE, 1.0),
];

/// What is known of each horizon.
pub const FUTURE: [Feature; 24] = [
    feature("usual growth", ERRORS, 10.0),
    feature("growth a week ago", ERRORS, 10.0),
    feature("growth a day ago", ERRORS, 10.0),
    feature("last value", ERRORS, 10.0),
    feature("level of an hour", ERRORS, 10.0),
    feature("level of three hours", ERRORS, 10.0),
    feature("level of a day", ERRORS, 10.0),
    feature("usual itself", ERRORS, 10.0),
    feature("same minute of the last hours", ERRORS, 10.0),
    feature("same minute yesterday", ERRORS, 10.0),
    feature("last error", ERRORS, 10.0),
    feature("bias of an hour", ERRORS, 10.0),
    feature("size of errors of an hour", ERRORS, 10.0),
    feature("error of the simple forecast", RATIO, 3.0),
    feature("promotion", RATIO, 3.0),
    feature("promotion begins, in the anchor", RATIO, 3.0),
    feature("promotion elsewhere", RATIO, 3.0),
    feature("promotion elsewhere begins", RATIO, 3.0),
    feature("deployment", SHARE, 1.0),
    feature("payday", SHARE, 1.0),
    feature("month end", SHARE, 1.0),
    feature("day off", SHARE, 1.0),
    feature("day sine", "-1 to 1", 1.0),
    feature("day cosine", "-1 to 1", 1.0),
];

/// What does not change over the window.
pub const STATIC: [Feature; 12] = [
    feature("class P0", SHARE, 1.0),
    feature("class P1", SHARE, 1.0),
    feature("class P2", SHARE, 1.0),
    feature("class P3", SHARE, 1.0),
    feature("error of the simple forecast", RATIO, 3.0),
    feature("growth of errors with the horizon", RATIO, 3.0),
    feature("tail of errors", RATIO, 3.0),
    feature("roughness", ERRORS, 10.0),
    feature("swing of the day", RATIO, 3.0),
    feature("missing", SHARE, 1.0),
    feature("leader correlation", "-1 to 1", 1.0),
    feature("days of history", "weeks", 1.0),
];

/// A number that changes with any name, unit, limit or order above, and with the tokens. It stands in
/// the weights, and weights of another list are refused.
#[must_use]
pub fn features_hash() -> String {
    let mut text = format!("{:?}", super::TOKENS);
    for (group, list) in [("past", &PAST[..]), ("future", &FUTURE[..]), ("static", &STATIC[..])] {
        for Feature { name, unit, limit } in list {
            // Writing to a string cannot fail.
            let _ = write!(text, ";{group}/{name}/{unit}/{limit}");
        }
    }
    // FNV-1a, 64 bits: a change is to be noticed, nobody attacks it.
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    format!("{hash:016x}")
}
