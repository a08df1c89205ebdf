//! One run that is learned from, beside what the rule was paid in the same run.

use std::sync::Arc;
use std::sync::mpsc;

use serde::{Deserialize, Serialize};

use super::advantage::advantages;
use super::members::Member;
pub use super::pay::Totals;
use super::pay::{Paid, Paymaster};
use super::sampler::{CommanderStep, Explore, Record, Sampler, SoldierStep, draws};
use super::settings::{Ablation, Settings};
use super::teacher::Needed;
use crate::pilot::Pilot;
use crate::policy::hirl::network::VALUES;
use crate::policy::hirl::{self, Actor, Flat, Hirl, Model};
use crate::seed::Seed;
use crate::simulation::arms::{Arm, Planning};
use crate::simulation::{Foresight, Simulation};

/// What the rule was paid in one member.
#[derive(Debug, Clone)]
pub struct Twin {
    /// Per step and app.
    paid: Vec<Vec<Paid>>,
    /// What became of it.
    pub totals: Totals,
    /// Cores that an app requested, mean over apps and time.
    cores: f64,
    /// What the teacher knows of it, where there is one.
    needed: Option<Needed>,
}

/// Cores that an app requests in a usual member. The price of a core-hour is for such apps: where all are larger
/// it is lower, so that a percent of the cost is worth the same everywhere. Without this a policy pays for the small
/// ones what it saves on the large ones, and a cluster has only one size.
const USUAL: f64 = 12.0;

/// What one episode gives to learn from.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Episode {
    /// Decisions of Soldiers.
    pub(super) soldiers: Vec<SoldierSample>,
    /// Decisions of the Commander.
    pub(super) commander: Vec<CommanderSample>,
    /// What became of it.
    pub totals: Totals,
    /// Decisions of one domain that were made.
    pub decisions: usize,
    /// Decisions that an error of the network left to the rule.
    pub faults: usize,
    /// What its apps were paid beyond the rule for an hour, by term, in minutes of breach; the mean over them.
    pub gained: [f64; VALUES],
}

/// A decision of a Soldier, and what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SoldierSample {
    pub step: SoldierStep,
    /// Of each member.
    pub advantages: Vec<f32>,
    pub returns: Vec<[f32; VALUES]>,
    /// The step of each member that the teacher would have taken; none after its time.
    pub taught: Vec<u32>,
}

/// A decision of the Commander, and what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CommanderSample {
    pub step: CommanderStep,
    /// Of each domain.
    pub advantages: Vec<f32>,
    pub returns: Vec<[f32; VALUES]>,
    /// Share of its apps in breach over the next five minutes.
    pub breaching: Vec<f32>,
}

/// A member from its start to its end under a pilot; `after` sees each step.
fn run(
    (member, foresight): (&Member, &Arc<Foresight>),
    arm: &Arm,
    pilot: impl FnOnce(&Simulation) -> Option<Pilot>,
    mut after: impl FnMut(&Simulation),
) -> Result<Totals, String> {
    let mut simulation = arm.simulation(&member.scenario, member.seed, Some(foresight))?;
    let mut pilot = pilot(&simulation);
    while !simulation.over() {
        simulation.turn(pilot.as_mut());
        after(&simulation);
    }
    Ok(Totals::of(&simulation, &member.scenario))
}

/// What the rule of an arm is paid in a member. `Err` is one sentence.
pub fn twin(member: &Member, arm: &Arm, settings: &Settings) -> Result<Twin, String> {
    let mut paymaster = Paymaster::new(&member.scenario, settings.pay);
    let mut paid = Vec::new();
    let rule = |simulation: &Simulation| arm.pilot(simulation, &member.scenario, member.seed);
    let totals = run((member, &member.foresight), arm, rule, |simulation| {
        paid.push(paymaster.pay(simulation));
    })?;
    let sums = paid.iter().flatten().map(|paid| f64::from(paid.core_hours)).sum::<f64>();
    let app_steps = paid.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let cores = sums / app_steps * 3600.0 / member.scenario.step_seconds;
    let is_taught = settings.teacher.iterations > 0;
    let needed = is_taught.then(|| Needed::of(member, &settings.teacher));
    Ok(Twin { paid, totals, cores, needed })
}

/// What becomes of a member under an arm as it is, with nobody trying anything. `Err` is one sentence.
pub fn as_it_is(member: &Member, arm: &Arm) -> Result<Totals, String> {
    let pilot = |simulation: &Simulation| arm.pilot(simulation, &member.scenario, member.seed);
    run((member, &member.foresight), arm, pilot, |_| ())
}

/// What one episode remembers.
#[derive(Debug, Default)]
struct Trace {
    /// Per decision: of each domain that had apps.
    soldiers: Vec<Vec<SoldierStep>>,
    /// The number of the decision that follows, and what was commanded in it.
    commander: Vec<(usize, CommanderStep)>,
    faults: usize,
}

impl Trace {
    fn add(&mut self, record: Record) {
        match record {
            Record::Commanded(step) => self.commander.push((self.soldiers.len(), step)),
            Record::Ordered(steps) => self.soldiers.push(steps),
            Record::Fault => {
                self.soldiers.push(Vec::new());
                self.faults += 1;
            }
        }
    }
}

/// What differs from one episode to another of the same member.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// What a core-hour costs where an app requests 12 cores, in minutes of breach; where apps are larger it is lower.
    pub price: f64,
    /// Whether the teacher is there.
    pub is_taught: bool,
    /// Of all that is drawn.
    pub seed: Seed,
}

/// One episode. `Err` is one sentence.
pub fn episode(
    (member, twin): (&Member, &Twin),
    arm: &Arm,
    model: &Arc<Model>,
    explore: Explore,
    settings: &Settings,
    Circumstances { price, is_taught, seed }: Circumstances,
) -> Result<Episode, String> {
    let (sender, records) = mpsc::channel();
    let sampler = Sampler::new(Arc::clone(model), explore, settings.hold, seed, sender);
    let planner = arm.planner.as_ref().ok_or("the arm has no rule")?;
    let Planning::Rules(rule) = &planner.policy else {
        return Err("the arm has no rule".to_owned());
    };
    let actor: Box<dyn Actor> = match settings.ablation {
        Some(Ablation::Flat) => Box::new(Flat(sampler)),
        _ => Box::new(sampler),
    };
    let reach = hirl::Settings::without(settings.ablation.map(Ablation::as_str));
    let policy = Box::new(Hirl::new(reach, rule.clone(), actor));
    // Frozen, and never quite right: a policy must bear the drift of a forecaster that is tuned weekly.
    let [low, high] = settings.forecast_noise;
    let spread = low + (high - low) * seed.child("noise").draw(0).uniform();
    let foresight = Arc::new(member.foresight.noisy(seed.child("forecast"), spread));
    let mut paymaster = Paymaster::new(&member.scenario, settings.pay);
    let mut paid = Vec::new();
    let pilot = |simulation: &Simulation| Some(planner.pilot_with(simulation, policy));
    let totals = run((member, &foresight), arm, pilot, |simulation| {
        paid.push(paymaster.pay(simulation));
    })?;
    let mut trace = Trace::default();
    for record in records.try_iter() {
        trace.add(record);
    }
    let price = price * USUAL / twin.cores.max(1e-3);
    let rewards = differences(&paid, &twin.paid, price);
    let gained = gained(&rewards, member.scenario.step_seconds);
    let (faults, decisions) = (trace.faults, trace.soldiers.iter().map(Vec::len).sum());
    let domain_of = member.scenario.domain_of();
    Ok(Episode {
        commander: commanded(
            trace.commander,
            &rewards,
            &breaching(&paid, &domain_of, member.scenario.step_seconds),
            &domain_of,
            settings,
        ),
        soldiers: ordered(
            trace.soldiers,
            &rewards,
            settings,
            member.scenario.step_seconds,
            twin.needed.as_ref().filter(|_| is_taught),
        ),
        totals,
        decisions,
        faults,
        gained,
    })
}

/// By term.
type Terms = [f32; VALUES];

/// Per step and app: what it was paid beyond the rule.
fn differences(paid: &[Vec<Paid>], rule: &[Vec<Paid>], price: f64) -> Vec<Vec<Terms>> {
    let difference = |(own, rule): (&Paid, &Paid)| own.beyond(rule, price as f32);
    let steps = paid.iter().zip(rule);
    steps.map(|(own, rule)| own.iter().zip(rule).map(difference).collect()).collect()
}

/// The mean over apps of what an hour brought them.
fn gained(rewards: &[Vec<Terms>], step_seconds: f64) -> [f64; VALUES] {
    let app_steps = rewards.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let steps_per_hour = 3600.0 / step_seconds;
    std::array::from_fn(|term| {
        let all = rewards.iter().flatten().map(|terms| f64::from(terms[term]));
        all.sum::<f64>() / app_steps * steps_per_hour
    })
}

/// What the critic expected, and what came beyond it.
fn returns(advantages: &Terms, values: &Terms) -> Terms {
    std::array::from_fn(|term| advantages[term] + values[term])
}

/// Apps of a usual member.
const APPS: f64 = 64.0;

/// Samples of the Soldiers: advantages over all decisions, of which every so many are kept.
fn ordered(
    trace: Vec<Vec<SoldierStep>>,
    rewards: &[Vec<Terms>],
    settings: &Settings,
    step_seconds: f64,
    teacher: Option<&Needed>,
) -> Vec<SoldierSample> {
    let discount = (-step_seconds / settings.soldier_horizon_seconds).exp();
    let times = trace.len().min(rewards.len());
    let apps = rewards.first().map_or(0, Vec::len);
    // An app that the rule had no answer for keeps what was last expected of it.
    let mut values = vec![vec![Terms::default(); times]; apps];
    for (time, views) in trace.iter().enumerate().take(times) {
        if time > 0 {
            for values in &mut values {
                values[time] = values[time - 1];
            }
        }
        for step in views {
            for (member, value) in step.view.members.iter().zip(&step.values) {
                values[*member][time] = *value;
            }
        }
    }
    let advantage: Vec<Vec<Terms>> = values
        .iter()
        .enumerate()
        .map(|(app, values)| {
            let own: Vec<Terms> = rewards[..times].iter().map(|step| step[app]).collect();
            let last = values.last().copied().unwrap_or_default();
            advantages(&own, values, last, discount, settings.lambda)
        })
        .collect();
    // As many decisions of an app from every episode, however many apps it has.
    let every = settings.every.max(1) * (apps as f64 / APPS).round().max(1.0) as usize;
    let mut samples = Vec::new();
    for (time, views) in trace.into_iter().enumerate().take(times) {
        for (place, step) in views.into_iter().enumerate() {
            let learned = settings.hold.max(1) * every;
            if !draws(time, place, learned) {
                continue;
            }
            let own = || step.view.members.iter().map(|app| &advantage[*app][time]);
            let returns = own().zip(&step.values).map(|(own, value)| returns(own, value)).collect();
            let advantages = own().map(|own| own.iter().sum()).collect();
            let taught = teacher.map(|it| it.steps(&step.view, time)).unwrap_or_default();
            samples.push(SoldierSample { step, advantages, returns, taught });
        }
    }
    samples
}

/// What the others' advantages count beside a domain's own: capacity that one gets others lack, and the sum
/// over all would bury in their noise what it did itself.
const OTHERS: f32 = 0.3;

/// How far ahead the Commander's urgency looks, in seconds.
const URGENT: f64 = 300.0;

/// Per step and domain: the share of its apps in breach over the next five minutes.
fn breaching(paid: &[Vec<Paid>], domain_of: &[usize], step_seconds: f64) -> Vec<Vec<f32>> {
    let domains = domain_of.iter().max().map_or(0, |most| most + 1);
    let shares = paid.iter().map(|step| {
        let (mut breaching, mut apps) = (vec![0.0_f32; domains], vec![0.0_f32; domains]);
        for (paid, domain) in step.iter().zip(domain_of) {
            breaching[*domain] += paid.breach;
            apps[*domain] += 1.0;
        }
        breaching.iter().zip(apps).map(|(sum, apps)| sum / apps.max(1.0)).collect()
    });
    let shares: Vec<Vec<f32>> = shares.collect();
    let ahead = ((URGENT / step_seconds).round() as usize).max(1);
    (0..shares.len())
        .map(|step| {
            let next = &shares[step..(step + ahead).min(shares.len())];
            let mean =
                |domain: usize| next.iter().map(|it| it[domain]).sum::<f32>() / next.len() as f32;
            (0..domains).map(mean).collect()
        })
        .collect()
}

/// Samples of the Commander.
fn commanded(
    trace: Vec<(usize, CommanderStep)>,
    rewards: &[Vec<Terms>],
    breaching: &[Vec<f32>],
    domain_of: &[usize],
    settings: &Settings,
) -> Vec<CommanderSample> {
    let domains = trace.first().map_or(0, |(_, step)| step.values.len());
    let begins: Vec<usize> = trace.iter().map(|(decision, _)| *decision).collect();
    let ends = begins.iter().skip(1).copied().chain([rewards.len()]);
    let mut sums = vec![vec![Terms::default(); trace.len()]; domains];
    for (minute, (begin, end)) in begins.iter().copied().zip(ends).enumerate() {
        for step in rewards.iter().take(end).skip(begin) {
            for (reward, domain) in step.iter().zip(domain_of) {
                if let Some(sums) = sums.get_mut(*domain) {
                    sums[minute].iter_mut().zip(reward).for_each(|(sum, term)| *sum += term);
                }
            }
        }
    }
    let own: Vec<Vec<Terms>> = sums
        .iter()
        .enumerate()
        .map(|(domain, rewards)| {
            let values: Vec<Terms> = trace
                .iter()
                .map(|(_, step)| step.values.get(domain).copied().unwrap_or_default())
                .collect();
            let last = values.last().copied().unwrap_or_default();
            let (discount, lambda) = (settings.commander_discount, settings.commander_lambda);
            advantages(rewards, &values, last, discount, lambda)
        })
        .collect();
    let samples = trace.into_iter().enumerate().map(|(minute, (_, step))| {
        let terms = own.iter().map(|own| &own[minute]);
        let returns = terms.clone().zip(&step.values);
        let returns = returns.map(|(own, value)| self::returns(own, value)).collect();
        let each: Vec<f32> = terms.map(|terms| terms.iter().sum()).collect();
        let all: f32 = each.iter().sum();
        let advantages = each.iter().map(|own| own + OTHERS * (all - own)).collect();
        // What was commanded in the last decision has nothing after it.
        let none = vec![0.0; domains];
        let breaching = begins.get(minute).and_then(|begin| breaching.get(*begin)).unwrap_or(&none);
        let breaching = (0..domains).map(|it| breaching.get(it).copied().unwrap_or(0.0)).collect();
        CommanderSample { step, advantages, returns, breaching }
    });
    samples.collect()
}
