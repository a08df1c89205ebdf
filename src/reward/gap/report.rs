//! What the detector says.

use std::fmt;

use serde::Serialize;

/// How many ties a printed report shows.
const SHOWN: usize = 20;

/// Which correlation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Pearson's, of the values.
    Linear,
    /// Spearman's, of the ranks.
    Rank,
}

/// How the reward or a term is tied to a metric or an outcome, at the lag where it is most.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tie {
    /// The reward or one of its terms.
    pub target: String,
    /// The metric or outcome.
    pub metric: String,
    /// Which correlation.
    pub kind: Kind,
    /// How long before the target the metric is, in seconds; negative: after it.
    pub lag_seconds: f64,
    /// The correlation, -1 to 1.
    pub correlation: f64,
    /// Independent pairs that would say as much.
    pub samples: f64,
    /// Distance of the correlation from 0 in standard errors.
    pub standard_errors: f64,
}

/// One gap.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "gap")]
pub enum Flag {
    /// A metric is tied to the reward or to a term more strongly than any outcome is to either.
    #[serde(rename_all = "camelCase")]
    Tied {
        /// The tie.
        tie: Tie,
        /// The strongest correlation of the target or of the metric with an outcome, 0 to 1.
        to_outcomes: f64,
    },
    /// The policy is paid more than the calibrated rule although users suffer more, or suffer no
    /// less while nothing is saved.
    #[serde(rename_all = "camelCase")]
    PaidForNothing {
        /// Mean reward above the twin's.
        gain: f64,
        /// The term that pays most of it.
        term: String,
        /// What that term pays above the twin's.
        pays: f64,
        /// Harms that are worse than the twin's.
        worse: Vec<String>,
    },
}

/// What the detector found in one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The gaps. None: what is paid for is what was wanted, as far as this run shows.
    pub flags: Vec<Flag>,
    /// Every pair at its strongest, the strongest first.
    pub ties: Vec<Tie>,
    /// Series that say nothing: constant, or with too few known values.
    pub silent: Vec<String>,
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Linear => "linear",
            Self::Rank => "rank",
        })
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tied { tie, to_outcomes } => write!(
                out,
                "{} follows {} ({} correlation {:.2} at {:+.0} min), and neither follows any true \
                 outcome more closely than {to_outcomes:.2}.",
                tie.target,
                tie.metric,
                tie.kind,
                tie.correlation,
                tie.lag_seconds / 60.0,
            ),
            Self::PaidForNothing { gain, term, pays, worse } => {
                write!(
                    out,
                    "The policy is paid {gain:.4} a minute more than the rule, most by {term} \
                     ({pays:+.4}), while "
                )?;
                if worse.is_empty() {
                    write!(out, "no true outcome is better.")
                } else {
                    write!(out, "there are more of: {}.", worse.join(", "))
                }
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flags.is_empty() {
            writeln!(out, "No gap found.")?;
        }
        for flag in &self.flags {
            writeln!(out, "GAP: {flag}")?;
        }
        if !self.silent.is_empty() {
            writeln!(out, "Constant or too short to say anything: {}.", self.silent.join(", "))?;
        }
        writeln!(
            out,
            "{:<14} {:<32} {:<6} {:>7} {:>6} {:>8} {:>7}",
            "paid", "follows", "kind", "lag min", "corr", "samples", "errors"
        )?;
        for tie in self.ties.iter().take(SHOWN) {
            writeln!(
                out,
                "{:<14} {:<32} {:<6} {:>+7.0} {:>+6.2} {:>8.0} {:>7.1}",
                tie.target,
                tie.metric,
                tie.kind,
                tie.lag_seconds / 60.0,
                tie.correlation,
                tie.samples,
                tie.standard_errors
            )?;
        }
        Ok(())
    }
}
