//! How good forecasts are: walked forward through the past, strictly from what was known, and judged by
//! slice. An aggregate alone hides mornings that are too sure of themselves behind nights that are not.

mod assessment;
mod cases;
mod eligible;
mod importance;
mod measures;
mod skill;
mod verdict;
mod walk;

pub use assessment::{Assessment, Compared, GroupCoverage, Judged, assess};
pub use cases::{Case, Gain, gain, losses};
pub use eligible::{Ineligible, eligible};
pub use importance::{GROUPS, Importance, Inputs, importance};
pub use measures::{Counted, Measures, exceedances, measures};
pub use skill::{Skill, skill};
pub use verdict::{AGGREGATE, Finding, Judgement, SLICE, SPIKES, Verdict, verdict};
pub use walk::{
    BaselineForecaster, Correction, Forecasts, Origin, Plan, QuantileForecaster, Walk, walk,
};

#[cfg(test)]
mod tests;
