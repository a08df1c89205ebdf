//! The policy while it learns: it draws, and remembers what it saw, drew and expected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use candle_core::{Result, Tensor};
use rand_distr::{Distribution as _, StandardNormal, StandardUniform};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::policy::hirl::network::{CommanderBatch, STEPS, SoldierBatch, VALUES};
use crate::policy::hirl::{
    Actor, Command, CommanderView, GROUPS, Model, Orders, SoldierView, chance,
};
use crate::seed::Seed;

/// Who tries things in an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explore {
    /// The Soldiers, while nobody commands or budgets are drawn at random.
    Soldiers {
        /// Whether they are.
        random_budgets: bool,
    },
    /// The Commander, above Soldiers that do what they have learned.
    Commander,
    /// Both.
    Both,
}

/// Decisions of the Commander for which drawn budgets stay.
const BUDGETS_STAY: u64 = 10;

/// One decision of a Soldier.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SoldierStep {
    pub view: SoldierView,
    /// Drawn: an index into [`STEPS`] per member.
    pub steps: Vec<u32>,
    pub splits: [f32; GROUPS],
    pub velocity: f32,
    /// Logarithms of the probabilities, or densities, of what was drawn.
    pub log_steps: Vec<f32>,
    pub log_splits: [f32; GROUPS],
    pub log_velocity: f32,
    /// What the critic expected of each member.
    pub values: Vec<[f32; VALUES]>,
}

/// One decision of the Commander.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CommanderStep {
    pub view: CommanderView,
    pub shares: Vec<f32>,
    pub headroom: Vec<f32>,
    /// Logarithms of the densities of what was drawn.
    pub log_shares: Vec<f32>,
    pub log_headroom: Vec<f32>,
    /// What the critic expected of each domain.
    pub values: Vec<[f32; VALUES]>,
}

/// What one decision leaves behind.
#[derive(Debug)]
pub(super) enum Record {
    /// What was commanded before the orders that follow.
    Commanded(CommanderStep),
    /// What each domain with apps was ordered; nobody where the Soldiers try nothing.
    Ordered(Vec<SoldierStep>),
    /// An error of the network left it to the rule.
    Fault,
}

/// Draws.
pub(super) struct Sampler {
    model: Arc<Model>,
    explore: Explore,
    rng: Xoshiro256PlusPlus,
    records: Sender<Record>,
    commands: u64,
    drawn: Vec<Command>,
    /// Decisions of the Soldiers so far.
    orders: usize,
    /// For how many decisions what was drawn for a domain holds.
    hold: usize,
    /// What was last drawn for each domain, by the place of its view; steps by app.
    held: BTreeMap<usize, Held>,
}

/// What was drawn for a domain.
#[derive(Debug, Clone, Default)]
struct Held {
    steps: BTreeMap<usize, f64>,
    splits: [f64; GROUPS],
    velocity: f64,
}

impl Held {
    /// For these apps; one that came since then does as the rule.
    fn orders(&self, members: &[usize]) -> Orders {
        Orders {
            steps: members.iter().map(|app| self.steps.get(app).copied().unwrap_or(0.0)).collect(),
            splits: self.splits,
            velocity: self.velocity,
        }
    }
}

/// Whether a domain draws anew in a decision. Domains take turns, so that every decision of the cluster has some that
/// are learned from.
pub(super) const fn draws(decision: usize, place: usize, hold: usize) -> bool {
    (decision + place).is_multiple_of(if hold == 0 { 1 } else { hold })
}

impl Sampler {
    pub(super) fn new(
        model: Arc<Model>,
        explore: Explore,
        hold: usize,
        seed: Seed,
        records: Sender<Record>,
    ) -> Self {
        Self {
            model,
            explore,
            rng: seed.rng(),
            records,
            commands: 0,
            drawn: Vec::new(),
            orders: 0,
            hold,
            held: BTreeMap::new(),
        }
    }

    fn record(&self, record: Record) {
        // Who does not listen any more does not want to know.
        let _ = self.records.send(record);
    }

    fn normal(&mut self) -> f32 {
        StandardNormal.sample(&mut self.rng)
    }

    /// A draw, and the logarithm of its density.
    fn gauss(&mut self, mean: f32, deviation: f32) -> (f32, f32) {
        let drawn = mean + deviation * self.normal();
        (drawn, log_density(drawn, mean, deviation))
    }

    fn uniform(&mut self) -> f32 {
        StandardUniform.sample(&mut self.rng)
    }

    fn random_budgets(&mut self, domains: usize) -> Vec<Command> {
        if self.commands.is_multiple_of(BUDGETS_STAY) || self.drawn.len() != domains {
            self.drawn = (0..domains)
                .map(|_| Command {
                    share: f64::from(0.4 * self.normal()),
                    headroom: f64::from(0.3 * self.normal()),
                    urgency: f64::from(self.uniform()),
                })
                .collect();
        }
        self.drawn.clone()
    }

    fn sampled_command(&mut self, view: &CommanderView) -> Result<Vec<Command>> {
        let model = Arc::clone(&self.model);
        let output = model.commander.forward(&CommanderBatch::new(&[view])?)?;
        let one = |tensor: &Tensor| tensor.get(0)?.to_vec1::<f32>();
        let (shares, headroom) = (one(&output.shares)?, one(&output.headroom)?);
        let urgency = one(&output.urgency)?;
        let values = by_term(output.values.get(0)?.to_vec2::<f32>()?);
        let [share_deviation, headroom_deviation] = model.commander.log_deviations();
        let deviation =
            |var: &candle_core::Var| Ok::<f32, candle_core::Error>(var.to_vec1::<f32>()?[0].exp());
        let (share_deviation, headroom_deviation) =
            (deviation(share_deviation)?, deviation(headroom_deviation)?);
        let mut gauss = |means: Vec<f32>, deviation: f32| -> (Vec<f32>, Vec<f32>) {
            means.into_iter().map(|mean| self.gauss(mean, deviation)).unzip()
        };
        let (shares, log_shares) = gauss(shares, share_deviation);
        let (headroom, log_headroom) = gauss(headroom, headroom_deviation);
        let commands = shares
            .iter()
            .zip(&headroom)
            .zip(urgency)
            .map(|((share, headroom), urgency)| Command {
                share: f64::from(*share),
                headroom: f64::from(*headroom),
                urgency: chance(urgency),
            })
            .collect();
        let step = CommanderStep {
            view: view.clone(),
            shares,
            headroom,
            log_shares,
            log_headroom,
            values,
        };
        self.record(Record::Commanded(step));
        Ok(commands)
    }

    fn sampled_orders(
        &mut self,
        views: &[SoldierView],
        decision: usize,
    ) -> Result<Vec<Option<Orders>>> {
        let model = Arc::clone(&self.model);
        let batch = SoldierBatch::new(&views.iter().collect::<Vec<_>>())?;
        let (output, values) = model.soldier.forward(&batch)?;
        let logits = output.steps.to_vec3::<f32>()?;
        let splits = output.splits.to_vec2::<f32>()?;
        let velocity = output.velocity.to_vec2::<f32>()?;
        let values = values.to_vec3::<f32>()?;
        let [split_deviation, velocity_deviation] = model.soldier.log_deviations();
        let split_deviation = split_deviation.to_vec1::<f32>()?[0].exp();
        let velocity_deviation = velocity_deviation.to_vec1::<f32>()?[0].exp();
        let mut steps = Vec::with_capacity(views.len());
        let mut orders = Vec::with_capacity(views.len());
        for ((row, view), values) in views.iter().enumerate().zip(values) {
            let (drawn, log_steps): (Vec<u32>, Vec<f32>) = logits[row][..view.members.len()]
                .iter()
                .map(|logits| drawn(logits, self.uniform()))
                .unzip();
            let (mut split, mut log_splits) = ([0.0; GROUPS], [0.0; GROUPS]);
            for group in 0..GROUPS {
                (split[group], log_splits[group]) = self.gauss(splits[row][group], split_deviation);
            }
            let (rate, log_velocity) = self.gauss(velocity[row][0], velocity_deviation);
            if draws(decision, row, self.hold) || !self.held.contains_key(&row) {
                let steps = drawn.iter().map(|step| STEPS[*step as usize]);
                let held = Held {
                    steps: view.members.iter().copied().zip(steps).collect(),
                    splits: split.map(f64::from),
                    velocity: f64::from(rate),
                };
                self.held.insert(row, held);
            }
            orders.push(self.held.get(&row).map(|held| held.orders(&view.members)));
            steps.push(SoldierStep {
                view: view.clone(),
                steps: drawn,
                splits: split,
                velocity: rate,
                log_steps,
                log_splits,
                log_velocity,
                values: by_term(values.into_iter().take(view.members.len())),
            });
        }
        self.record(Record::Ordered(steps));
        Ok(orders)
    }
}

/// What a critic expects of each, by what is paid for.
fn by_term(rows: impl IntoIterator<Item = Vec<f32>>) -> Vec<[f32; VALUES]> {
    let row = |row: Vec<f32>| std::array::from_fn(|term| row.get(term).copied().unwrap_or(0.0));
    rows.into_iter().map(row).collect()
}

/// Of a normal distribution.
fn log_density(value: f32, mean: f32, deviation: f32) -> f32 {
    let distance = (value - mean) / deviation;
    -0.5 * distance * distance - deviation.ln() - 0.5 * std::f32::consts::TAU.ln()
}

/// The index that a uniform number falls into, by unnormalised log-probabilities; and its log-probability.
fn drawn(logits: &[f32], uniform: f32) -> (u32, f32) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let parts: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = parts.iter().sum();
    let mut left = uniform * sum;
    let index = parts.iter().position(|part| {
        left -= part;
        left < 0.0
    });
    let index = index.unwrap_or(parts.len() - 1);
    (index as u32, (parts[index] / sum).ln())
}

impl Actor for Sampler {
    fn command(&mut self, view: &CommanderView) -> Option<Vec<Command>> {
        let said = match self.explore {
            Explore::Soldiers { random_budgets: false } => None,
            Explore::Soldiers { random_budgets: true } => {
                Some(self.random_budgets(view.domains.len()))
            }
            Explore::Commander | Explore::Both => self.sampled_command(view).ok(),
        };
        self.commands += 1;
        said
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        let decision = self.orders;
        self.orders += 1;
        if views.is_empty() || self.explore == Explore::Commander {
            self.record(Record::Ordered(Vec::new()));
            return self.model.order(views);
        }
        self.sampled_orders(views, decision).unwrap_or_else(|_| {
            self.record(Record::Fault);
            vec![None; views.len()]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_drawn_as_often_as_their_parts() {
        let logits = [0.1_f32, 0.2, 0.3, 0.4].map(f32::ln);
        let mut counts = [0_u32; 4];
        for step in 0..1000 {
            counts[drawn(&logits, (step as f32 + 0.5) / 1000.0).0 as usize] += 1;
        }
        assert_eq!(counts, [100, 200, 300, 400]);
        assert_eq!(drawn(&[0.0, f32::NEG_INFINITY], 0.999_999_9), (0, 0.0));
        assert!((drawn(&logits, 0.5).1 - 0.3_f32.ln()).abs() < 1e-6);
    }
}
