//! Every coefficient, weight and threshold of the rewards. A change here is a reviewed change.

use serde::{Deserialize, Serialize};

use super::gap;

/// All numbers of the rewards and of the detector that watches them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// The reward of the Commander.
    pub commander: Commander,
    /// The reward of the Soldiers.
    pub soldier: Soldier,
    /// The gap detector.
    pub gap: gap::Settings,
}

/// The Commander's reward, paid per minute. Coefficients are what one unit of a term is worth
/// beside the adherence, which is -1 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Commander {
    /// `w_slo`, per unit of mean adherence. 1: everything else is measured against the promise.
    pub adherence: f64,
    /// `w_cost`, per minute in which [`Self::cost_cores`] are paid for. 0.3: the whole cluster is
    /// worth less than one domain that goes from idle to the edge of its SLO.
    pub cost: f64,
    /// Paid cores that cost one unit: a constant of the cluster, never its pods, so that the cost
    /// stays absolute. 50,000: 100,000 pods of half a core.
    pub cost_cores: f64,
    /// `w_deg`, per unit of weighted degradation of the worst domain. 2: a `P0` domain at twice its
    /// SLO costs more than all adherence and all cost saved could bring back.
    pub degradation: f64,
    /// `w_thr`, per [`Self::thrash_nodes`] nodes that came and went. 0.1: as much as the cost of a
    /// third of the cluster for a minute, so that churn is avoided and never feared.
    pub thrash: f64,
    /// Nodes that thrash one unit. 10: the least that the count of stampedes calls many.
    pub thrash_nodes: f64,
    /// A node that goes this soon after one came, or comes after one went, has thrashed, in
    /// seconds. 600: the count of the Commander's observation.
    pub thrash_seconds: f64,
    /// `w_pro`, per spike that was met. 0.1: a hint for learning; twenty met spikes must not pay
    /// for one minute of a broken promise.
    pub proactivity: f64,
    /// A forecast p80 above this multiple of the traffic now announces a spike, and traffic above
    /// it is the spike. 1.2: `system.md` 2.4.
    pub spike_ratio: f64,
    /// The raise must lead the spike by more than this, in seconds. 300: nodes take 3 to 4 minutes.
    pub lead_seconds: f64,
    /// A spike that does not come this long after it was announced was a false alarm, in seconds.
    /// 1800: the horizon of the forecaster.
    pub wait_seconds: f64,
    /// Only what exceeds the largest budget of this long before the announcement is a raise, in
    /// seconds. 1800: lowering in time to raise again would have to begin before the forecaster
    /// can know why.
    pub memory_seconds: f64,
    /// `w_flr`, per domain that is at its floor. 0.2: a starved domain costs more than
    /// its cores save, before it breaks its promise. Live from the first stage of training.
    pub floor: f64,
    /// A domain this part above its floor or nearer is near it. 0.15: `system.md` 2.4.
    pub floor_margin: f64,
}

impl Default for Commander {
    fn default() -> Self {
        Self {
            adherence: 1.0,
            cost: 0.3,
            cost_cores: 50_000.0,
            degradation: 2.0,
            thrash: 0.1,
            thrash_nodes: 10.0,
            thrash_seconds: 600.0,
            proactivity: 0.1,
            spike_ratio: 1.2,
            lead_seconds: 300.0,
            wait_seconds: 1800.0,
            memory_seconds: 1800.0,
            floor: 0.2,
            floor_margin: 0.15,
        }
    }
}

/// A Soldier's reward, paid per row. Coefficients are what one unit of a term is worth beside the
/// adherence, which is -1 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Soldier {
    /// `v_slo`, per unit of adherence. 1: everything else is measured against the promise.
    pub adherence: f64,
    /// `v_bgt`, per squared distance of the use of the budget from the target. 0.5: half a budget
    /// left idle costs 0.06, a budget overdrawn by the emergency band 0.03.
    pub budget: f64,
    /// The share of its budget that a domain should use: of `v_bgt` and of the alignment alike.
    /// 0.85: the original's, room for the pods that a rolling update adds.
    pub target: f64,
    /// `v_align`, per unit of alignment. 0.2: the split between groups matters, and adherence
    /// shows most of what it does.
    pub alignment: f64,
    /// `v_osc`, per share of the replicas that went up and down again. 0.5: undoing a fifth of
    /// the domain costs 0.1, more than a minute's use of the budget can win.
    pub oscillation: f64,
    /// `v_cold`, per share of pods that are pending or starting. 0.2: a domain that doubles loses
    /// 0.1, less than the adherence that its new pods bring.
    pub cold: f64,
}

impl Default for Soldier {
    fn default() -> Self {
        Self {
            adherence: 1.0,
            budget: 0.5,
            target: 0.85,
            alignment: 0.2,
            oscillation: 0.5,
            cold: 0.2,
        }
    }
}

/// A share of anything that must not be 0, because it divides.
const LEAST: f64 = 0.01;

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        let (commander, soldier) = (&self.commander, &self.soldier);
        for (name, value, low, high) in [
            ("commander.adherence", commander.adherence, 0.0, 100.0),
            ("commander.cost", commander.cost, 0.0, 100.0),
            ("commander.costCores", commander.cost_cores, 1.0, 1e9),
            ("commander.degradation", commander.degradation, 0.0, 100.0),
            ("commander.thrash", commander.thrash, 0.0, 100.0),
            ("commander.thrashNodes", commander.thrash_nodes, 1.0, 1e6),
            ("commander.thrashSeconds", commander.thrash_seconds, 60.0, 3600.0),
            ("commander.proactivity", commander.proactivity, 0.0, 100.0),
            ("commander.spikeRatio", commander.spike_ratio, 1.0 + LEAST, 10.0),
            ("commander.leadSeconds", commander.lead_seconds, 0.0, 3600.0),
            ("commander.waitSeconds", commander.wait_seconds, 60.0, 7200.0),
            ("commander.memorySeconds", commander.memory_seconds, 60.0, 86_400.0),
            ("commander.floor", commander.floor, 0.0, 100.0),
            ("commander.floorMargin", commander.floor_margin, LEAST, 10.0),
            ("soldier.adherence", soldier.adherence, 0.0, 100.0),
            ("soldier.budget", soldier.budget, 0.0, 100.0),
            ("soldier.target", soldier.target, LEAST, 1.0),
            ("soldier.alignment", soldier.alignment, 0.0, 100.0),
            ("soldier.oscillation", soldier.oscillation, 0.0, 100.0),
            ("soldier.cold", soldier.cold, 0.0, 100.0),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!("reward.{name} must be {low} to {high}, not {value}"));
            }
        }
        if commander.lead_seconds >= commander.wait_seconds {
            return Err(format!(
                "reward.commander.leadSeconds must be below waitSeconds ({}), not {}",
                commander.wait_seconds, commander.lead_seconds
            ));
        }
        self.gap.validate()
    }
}
