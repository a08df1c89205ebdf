//! Every number of the training of policies. A change here is a reviewed change.

use serde::{Deserialize, Serialize};

use crate::policy::hirl;
use crate::reward::gap;

/// All of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// What an app is paid.
    pub pay: Pay,
    /// What a reward of the Soldier is worth a second later: exp(-1 / 900), the mean life of a pod and its
    /// node (`system.md` 2.5). Given as the time constant, in seconds.
    pub soldier_horizon_seconds: f64,
    /// Discount of the Commander per minute. 0.995: `system.md` 2.5.
    pub commander_discount: f64,
    /// Decay of the weight of later differences (Schulman et al. 2016), per decision of a Soldier. 0.95: theirs,
    /// three minutes.
    pub lambda: f64,
    /// The same of the Commander, per minute. 0.8: five minutes, for what it does shows when pods and nodes
    /// have come; at 0.98 its advantages were noise, and it diverged.
    pub commander_lambda: f64,
    /// By how much the probability of an action may change before it is no longer followed. 0.2: Schulman et
    /// al. 2017.
    pub clip: f64,
    /// What a nat of entropy is worth beside a deviation of the advantage. 0.003: steps must not settle
    /// before the critic knows anything, and noise costs pods.
    pub entropy: f64,
    /// Weight of the critic's error.
    pub critic: f64,
    /// A step that finds the distributions moved further than this (mean KL divergence per action) is the last of
    /// its iteration.
    pub kl_limit: f64,
    /// The Commander moves this much slower: its divergence counts so many times (`system.md` 2.5).
    pub commander_kl: f64,
    /// Epochs over the same episodes.
    pub epochs: u64,
    /// Decisions of one domain in one step of the optimiser.
    pub batch: usize,
    /// What is drawn for a domain holds for so many decisions. 6, a minute: what changes every ten seconds is smoothed
    /// away before any pod is ready, and nobody learns what it was good for.
    pub hold: usize,
    /// Every so many draws one is learned from: neighbours say nearly the same. All of them are paid.
    pub every: usize,
    /// Length of the optimiser's steps: of the Soldiers, ...
    pub soldier_rate: f64,
    /// ... and of the Commander: its few decisions make few steps, of which its divergence limit ends most.
    pub commander_rate: f64,
    /// What is judged, kept and served is a mean of the weights over iterations (Polyak and Juditsky 1992), which
    /// forgets by this much per iteration: 0.95 is about twenty. Single iterations walk at random around it.
    pub average_decay: f64,
    /// Deviation of the error that an episode's forecasts get on top, half an hour ahead: least and most. 5 to
    /// 15 %: `system.md` 2.3.
    pub forecast_noise: [f64; 2],
    /// By how much the price of a core-hour is higher for the excess of the cost over the rule's, as logarithms. 20: twice
    /// the price at 3.5 % more.
    pub price_gain: f64,
    /// The same that stays, per iteration. 0.5: what is right for a policy changes within some twenty iterations.
    pub price_drift: f64,
    /// When the gap detector stops a run.
    pub gap: gap::Settings,
    /// The cost that is aimed at, as a multiple of the rule's.
    pub cost_target: f64,
    /// Who teaches before it learns by itself.
    pub teacher: Teacher,
    /// How the encoder of traffic is learned before anything else.
    pub shapes: Shapes,
    /// What is left out to see what it is good for; nothing unless somebody asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ablation: Option<Ablation>,
}

/// A part of the policy that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ablation {
    /// Attention looks at all alike.
    MeanPool,
    /// What a group gains is not taken from the other groups of its domain.
    NoProjection,
    /// Every app has a step of its own, and not only those most at risk.
    EveryApp,
    /// Nobody sees the shapes of traffic.
    NoShapes,
    /// There are no domains: one Soldier for all apps, and no Commander.
    Flat,
}

impl Ablation {
    /// The name in settings and in weights.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MeanPool => "meanPool",
            Self::NoProjection => hirl::UNPROJECTED,
            Self::EveryApp => hirl::EVERY_APP,
            Self::NoShapes => "noShapes",
            Self::Flat => hirl::FLAT,
        }
    }

    /// Whether a parameter stays at 0: a query of nothing finds all keys alike.
    #[must_use]
    pub fn freezes(self, parameter: &str) -> bool {
        let frozen: &[&str] = match self {
            Self::MeanPool => &["attention.query", "commander.calls", "commander.callers"],
            Self::NoShapes => &["soldier.embed_shape"],
            Self::NoProjection | Self::EveryApp | Self::Flat => &[],
        };
        frozen.iter().any(|part| parameter.contains(part))
    }
}

/// A teacher that knows the traffic to come, see `teacher.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Teacher {
    /// For so many iterations Soldiers that know nothing imitate it; 0: never. 3: what it teaches is worse than the rule
    /// (breach 1.07 to 1.18 of it after 8, for nobody knows what comes), and what it is right about makes what follows
    /// sooner and better; after 13 iterations with 3 of them the looks are those of 24 with 8: `weights/MODEL_CARD.md`.
    pub iterations: u64,
    /// How far ahead it looks, in seconds. 180: what pods take to start, and nodes to come.
    pub seconds: f64,
    /// Pods that it wants, as a multiple of what the highest offer until then takes at the HPA's target. 1.1: about the
    /// rule's cost.
    pub margin: f64,
}

impl Default for Teacher {
    fn default() -> Self {
        Self { iterations: 3, seconds: 180.0, margin: 1.1 }
    }
}

/// How shapes of traffic are learned by contrast, see `shapes.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Shapes {
    /// Steps of the optimiser.
    pub steps: u64,
    /// Pairs of windows in each.
    pub batch: usize,
    /// Length of the optimiser's steps.
    pub rate: f64,
    /// Of similarities (Chen et al. 2020, who found 0.1 to 0.5 usable).
    pub temperature: f64,
    /// Two windows of an app are so many minutes apart at the most: a third of a window.
    pub minutes: usize,
    /// Deviation of what telemetry makes of a minute, as a logarithm.
    pub jitter: f64,
}

impl Default for Shapes {
    fn default() -> Self {
        Self { steps: 400, batch: 128, rate: 3e-3, temperature: 0.2, minutes: 10, jitter: 0.02 }
    }
}

/// What an app is paid for a step, term by term. The unit is a minute in breach of an app of weight 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Pay {
    /// Per minute in breach. 1: the unit; it is what evaluations count.
    pub breach: f64,
    /// Per minute of degradation 1 (`system.md` 2.4: p99 at twice the SLO, or twice the error budget). 0.3: a
    /// breach that deepens must cost something, or nobody would leave it.
    pub degradation: f64,
    /// Per minute of adherence 1. 0.05: a hint which side is the right one while nothing is in breach.
    /// More would buy latency that nobody asked for.
    pub adherence: f64,
    /// Per replica that went up and down again within two minutes, over all. 0.2: such pods cost a start each.
    pub oscillation: f64,
    /// Per minute in which all pods are pending or starting. 0.05: cold pods serve nobody.
    pub cold: f64,
    /// Per core-hour requested, before the price follows the cost. 0.25: policies go a few percent below the rule's cost
    /// first and come back with the price, which ends at 0.05 to 0.1. Begun there they are dearer and no better.
    pub cost: f64,
}

impl Default for Pay {
    fn default() -> Self {
        Self {
            breach: 1.0,
            degradation: 0.3,
            adherence: 0.05,
            oscillation: 0.2,
            cold: 0.05,
            cost: 0.25,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pay: Pay::default(),
            soldier_horizon_seconds: 900.0,
            commander_discount: 0.995,
            lambda: 0.95,
            commander_lambda: 0.8,
            clip: 0.2,
            entropy: 0.003,
            critic: 0.5,
            kl_limit: 0.03,
            commander_kl: 3.0,
            epochs: 2,
            batch: 256,
            hold: 6,
            every: 2,
            soldier_rate: 3e-3,
            commander_rate: 3e-3,
            average_decay: 0.95,
            forecast_noise: [0.05, 0.15],
            price_gain: 20.0,
            price_drift: 0.5,
            gap: gap::Settings::default(),
            cost_target: 1.0,
            teacher: Teacher::default(),
            shapes: Shapes::default(),
            ablation: None,
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        let pay = &self.pay;
        for (name, value, low, high) in [
            ("pay.breach", pay.breach, 0.0, 100.0),
            ("pay.degradation", pay.degradation, 0.0, 100.0),
            ("pay.adherence", pay.adherence, 0.0, 100.0),
            ("pay.oscillation", pay.oscillation, 0.0, 100.0),
            ("pay.cold", pay.cold, 0.0, 100.0),
            ("pay.cost", pay.cost, 1e-6, 100.0),
            ("soldierHorizonSeconds", self.soldier_horizon_seconds, 1.0, 1e6),
            ("commanderDiscount", self.commander_discount, 0.0, 1.0),
            ("lambda", self.lambda, 0.0, 1.0),
            ("commanderLambda", self.commander_lambda, 0.0, 1.0),
            ("clip", self.clip, 0.01, 1.0),
            ("entropy", self.entropy, 0.0, 1.0),
            ("critic", self.critic, 0.0, 100.0),
            ("klLimit", self.kl_limit, 1e-6, 10.0),
            ("commanderKl", self.commander_kl, 1.0, 100.0),
            ("epochs", self.epochs as f64, 1.0, 100.0),
            ("batch", self.batch as f64, 1.0, 1e6),
            ("hold", self.hold as f64, 1.0, 1000.0),
            ("every", self.every as f64, 1.0, 1000.0),
            ("soldierRate", self.soldier_rate, 0.0, 1.0),
            ("commanderRate", self.commander_rate, 0.0, 1.0),
            ("averageDecay", self.average_decay, 0.0, 0.999),
            ("forecastNoise", self.forecast_noise[0], 0.0, self.forecast_noise[1]),
            ("forecastNoise", self.forecast_noise[1], 0.0, 1.0),
            ("priceGain", self.price_gain, 0.0, 100.0),
            ("priceDrift", self.price_drift, 0.0, 100.0),
            ("costTarget", self.cost_target, 0.1, 10.0),
            ("teacher.seconds", self.teacher.seconds, 0.0, 3600.0),
            ("teacher.margin", self.teacher.margin, 0.1, 10.0),
            ("shapes.batch", self.shapes.batch as f64, 2.0, 1e4),
            ("shapes.rate", self.shapes.rate, 0.0, 1.0),
            ("shapes.temperature", self.shapes.temperature, 0.01, 10.0),
            ("shapes.minutes", self.shapes.minutes as f64, 0.0, 1000.0),
            ("shapes.jitter", self.shapes.jitter, 0.0, 1.0),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!("{name} must be {low} to {high}, not {value}"));
            }
        }
        self.gap.validate()
    }
}
