//! Training of the forecaster, as far as it is pure: which windows a step sees, how fast it learns, and how good a
//! network is on what it did not learn from.

mod sampler;
mod schedule;
mod validation;

pub use sampler::{Material, Sample};
pub use schedule::Schedule;
pub use validation::{Validation, Verdict};
