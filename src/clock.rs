//! The only place that reads the wall clock. The core takes `now` as an argument.

use crate::cluster::Timestamp;

/// The wall clock.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
