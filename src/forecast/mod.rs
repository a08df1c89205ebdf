//! What traffic is expected: per domain, minutes ahead, with quantiles. Pure.
//!
//! [`SeasonalProfile`] is the forecaster that always works, and the one that a learned one must
//! beat: the present level over what is usual now, times what is usual then.

mod profile;
mod quantiles;

pub use profile::{Profile, SeasonalProfile};
pub use quantiles::ErrorQuantiles;
