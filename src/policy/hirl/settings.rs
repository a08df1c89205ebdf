//! How far the learned policy may move what the rule asks for.

/// The reach of the learned policy. The networks were trained with the defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What one step of an app is worth, as a part of what the rule asks for: at 0.15, steps of -2 to 2 are
    /// -30 % to 30 %.
    pub step: f64,
    /// Part of the way that a smoothed step or split goes to a new one in a decision: single decisions do
    /// not move pods, what is decided again and again does. Trying things costs pods by this, for an HPA keeps
    /// the highest of what it was told: measured with 0.5 upwards, noise cost 15 % and not 3 %. At 0.25 half
    /// the way takes 24 s.
    pub smoothing: f64,
    /// The Commander's headroom multiplies what a domain asks for by at most e to this, and at least e to
    /// minus half of this.
    pub headroom: f64,
    /// How far a group's part of its domain may go up or down, as a natural logarithm.
    pub split: f64,
    /// Apps per domain that get a step of their own, those most at risk. 20: `system.md` 2.2.
    pub at_risk: usize,
    /// Whether what a group gains comes from the other groups of its domain. Off in an ablation alone.
    pub zero_sum: bool,
    /// How far the logarithm of a share may be moved.
    pub share: f64,
    /// A share that would change by less than this part of itself stays as it is (`system.md` 2.1).
    pub dead_zone: f64,
    /// The most that a share may change in one division, in points of the shared CPU.
    pub slew: f64,
    /// How often the Commander divides, in seconds.
    pub command_seconds: f64,
    /// Seconds of the networks in a second of the clock. 1; more where a whole cluster runs faster than life, for the
    /// networks know by heart how long pods, nodes and HPAs take.
    pub time_scale: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            step: 0.15,
            smoothing: 0.25,
            headroom: 0.6,
            split: 0.6,
            at_risk: 20,
            zero_sum: true,
            share: 0.7,
            dead_zone: 0.02,
            slew: 0.1,
            command_seconds: 60.0,
            time_scale: 1.0,
        }
    }
}

/// What weights are marked with whose splits are not projected onto the whole of their domain, see
/// [`Model::ablation`](super::Model::ablation).
pub const UNPROJECTED: &str = "noProjection";

/// What weights are marked with whose Soldiers step for every app.
pub const EVERY_APP: &str = "everyApp";

impl Settings {
    /// Those that weights were trained with of which this was left out.
    #[must_use]
    pub fn without(ablation: Option<&str>) -> Self {
        let usual = Self::default();
        Self {
            at_risk: if ablation == Some(EVERY_APP) { usize::MAX } else { usual.at_risk },
            zero_sum: ablation != Some(UNPROJECTED),
            ..usual
        }
    }
}
