//! `hirl train policy`: the Commander and the Soldiers.

mod plot;
pub(super) mod rollouts;
mod share;
mod task;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;

use self::share::Orders;
use self::task::{Iteration, Roster, Task, made};
use super::checkpoint::{Folder, Log};
use super::workers::SHARDS;
use crate::cli::jobs;
use crate::cli::provenance::{self, Fingerprint};
use crate::cli::scenarios;
use crate::learning::ppo::{self, Heads, Level, Said, Scales};
use crate::learning::{
    Ablation, Episode, Explore, Member, Price, Settings, Statistics, Totals, Watched, Windows,
    World, as_it_is, gaps, member, watch,
};
use crate::nn::{Adam, AdamSettings, Gradients, Weights};
use crate::policy::hirl::Model;
use crate::policy::hirl::features::features_hash;
use crate::policy::hirl::network::VALUES;
use crate::seed::{Seed, Space};
use crate::simulation::arms::{self, Arm, Part, Planning};

/// Trains the policy in the simulator; an interrupted run goes on where it was.
///
/// Writes OUT/weights.safetensors, OUT/log.csv (a line per iteration), OUT/progress.html (the same as plots that draw
/// themselves anew), OUT/gaps.txt (what the gap detector found last) and OUT/checkpoint.safetensors.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Folder of the run
    #[arg(long)]
    out: PathBuf,
    /// Number of the training seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The rule that is learned on top of; `NAME@N` is a point of its searched front
    #[arg(long, value_name = "NAME", default_value = "rules+forecast")]
    rule: String,
    /// Who learns: soldiers, commander or both
    #[arg(long, value_enum, default_value_t = Stage::Soldiers)]
    stage: Stage,
    /// Weights to begin with; untrained ones (the rule) unless given
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Iterations: episodes, then steps of the optimiser
    #[arg(long, default_value_t = 24)]
    iterations: u64,
    /// Episodes of an iteration
    #[arg(long, default_value_t = 32)]
    episodes: usize,
    /// Members of each level that episodes are of
    #[arg(long, default_value_t = 32)]
    members: u64,
    /// Levels that episodes are of, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,4,5,6,7,8")]
    levels: Vec<u8>,
    /// Iterations between two looks at members that are not trained on
    #[arg(long, default_value_t = 8)]
    look: u64,
    /// Members of each level for such a look
    #[arg(long, default_value_t = 12)]
    look_members: u64,
    /// YAML file with numbers of the training; the defaults unless given
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Threads; as many as there are cores unless given
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
    /// Folder on a volume that `hirl train rollouts` sees as well: workers there make episodes too. The weights are
    /// those of a run without them
    #[arg(long, value_name = "DIR", requires = "workers")]
    share: Option<PathBuf>,
    /// How many workers there are
    #[arg(long, value_name = "COUNT", requires = "share")]
    workers: Option<NonZeroUsize>,
    /// Go on where the gap detector finds that the policy is paid for what nobody wants
    #[arg(long)]
    go_on: bool,
    /// Seconds that they get for the episodes of an iteration; what has not come then is made here
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    worker_limit: u64,
}

/// Who learns.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "camelCase")]
enum Stage {
    /// Soldiers alone, half of the episodes under random budgets.
    Soldiers,
    /// The Commander, above Soldiers that stay as they are.
    Commander,
    /// Both.
    Both,
}

impl Stage {
    fn explore(self, number: u64) -> Explore {
        match self {
            Self::Soldiers => Explore::Soldiers { random_budgets: number % 2 == 1 },
            Self::Commander => Explore::Commander,
            Self::Both => Explore::Both,
        }
    }

    const fn levels(self) -> &'static [Level] {
        match self {
            Self::Soldiers => &[Level::Soldier],
            Self::Commander => &[Level::Commander],
            Self::Both => &[Level::Soldier, Level::Commander],
        }
    }
}

/// A line of the log.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Line {
    iteration: u64,
    seconds: f64,
    /// Of this iteration: in episodes, and in steps of the optimiser.
    rollout_seconds: f64,
    optimiser_seconds: f64,
    /// Decisions of one domain so far.
    decisions: u64,
    /// Price of a core-hour, in minutes of breach.
    price: f64,
    /// Of the episodes, as multiples of the rule's.
    breach: f64,
    cost: f64,
    policy_loss: f64,
    critic_loss: f64,
    entropy: f64,
    /// Of each head: steps, splits and velocity, or shares and headroom.
    kl_first: f64,
    kl_second: f64,
    kl_third: f64,
    clipped: f64,
    epochs: u64,
    /// Of the last look, as multiples of the rule's: in usual members, ...
    look_breach: f64,
    look_cost: f64,
    /// ... in those with large apps, ...
    look_large_breach: f64,
    look_large_cost: f64,
    /// ... and in those with many.
    look_many_breach: f64,
    look_many_cost: f64,
    /// What an app was paid beyond the rule for an hour, in minutes of breach, by term.
    paid_breach: f64,
    paid_degradation: f64,
    paid_adherence: f64,
    paid_oscillation: f64,
    paid_cold: f64,
    paid_cost: f64,
}

impl super::checkpoint::Numbered for Line {
    fn number(&self) -> u64 {
        self.iteration
    }
}

/// Where a run stands beside its weights.
#[derive(Debug, Clone, Copy)]
struct Standing {
    iteration: u64,
    seconds: f64,
    decisions: u64,
    price: Price,
    best: f64,
}

/// Everything that does not change in a run.
struct Run<'a> {
    args: &'a Args,
    task: Task,
    members: Roster,
    judges: Vec<Member>,
    /// The rule in the members of the looks.
    ruled: Vec<Watched>,
    orders: Option<Orders>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut settings = read_settings(args)?;
    if args.weights.is_some() {
        // Who knows something already would unlearn it.
        settings.teacher.iterations = 0;
    }
    let task = Task {
        seed: args.seed,
        rule: args.rule.clone(),
        stage: args.stage,
        levels: args.levels.clone(),
        members: args.members,
        episodes: args.episodes as u64,
        settings,
    };
    task.arm()?;
    let model = match &args.weights {
        Some(path) => {
            let model = scenarios::model(path)?;
            try_anew(&model, args.stage.levels())?;
            model
        }
        None => Model::untrained(Seed::of(Space::Training, args.seed).child("start"))?,
    };
    let model = Arc::new(ablated(model, task.settings.ablation)?);
    // Before anything that takes time: workers wait, and must not find what an earlier run left.
    let orders = args.share.as_ref().zip(args.workers).map(|(folder, workers)| {
        Orders::new(folder, workers.get() as u64, Duration::from_secs(args.worker_limit))
    });
    let orders = orders.transpose()?;
    let members = Roster::whole(&task, args.jobs)?;
    let judges = judges(args)?;
    let ruled = watched(&judges, &members.arm, &task.settings, args.jobs)?;
    let run = Run { args, task, members, judges, ruled, orders };
    train(&run, &model)?;
    // Workers of a training that ended otherwise wait for the one that takes its place.
    if let Some(orders) = &run.orders {
        orders.done()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The members of the looks.
fn judges(args: &Args) -> anyhow::Result<Vec<Member>> {
    let numbers = task::numbers(&args.levels, args.look_members);
    let mut judges = jobs::all(&numbers, args.jobs, |(level, number)| {
        let member = member(Space::Gates, *level, *number).map_err(anyhow::Error::msg)?;
        Ok(jobs::Done { what: member, reused: false })
    })?;
    judges.sort_by_key(|member| (member.level, member.number));
    Ok(judges)
}

/// Without what is to be left out.
fn ablated(model: Model, ablation: Option<Ablation>) -> anyhow::Result<Model> {
    let Some(ablation) = ablation else { return Ok(model) };
    for (name, variable) in model.parameters().iter() {
        if ablation.freezes(name) {
            variable.set(&variable.zeros_like()?)?;
        }
    }
    Ok(model.without(ablation.as_str()))
}

/// A stage tries things as much as the first one did, whatever the weights that it begins with have settled on.
fn try_anew(model: &Model, levels: &[Level]) -> anyhow::Result<()> {
    let start = Model::untrained(Seed::root(0))?;
    for (name, variable) in model.parameters().iter() {
        let learns = levels.iter().any(|level| name.starts_with(level.prefix()));
        if learns && name.ends_with("deviation") && !name.contains("statistics") {
            let first = start.parameters().get(name).context("networks of one kind differ")?;
            variable.set(first.as_tensor())?;
        }
    }
    Ok(())
}

fn read_settings(args: &Args) -> anyhow::Result<Settings> {
    let settings = match &args.settings {
        None => Settings::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?
        }
    };
    settings.validate().map_err(anyhow::Error::msg)?;
    Ok(settings)
}

/// The files of a run, and what they must have in common with the one that goes on.
struct Kept {
    folder: Folder,
    log: Log<Line>,
    described: String,
}

impl Kept {
    /// Takes up the run that was interrupted here, if there is one.
    fn resume(
        &self,
        run: &Run<'_>,
        model: &Model,
        constants: AdamSettings,
    ) -> anyhow::Result<(Standing, Adam)> {
        let price = Price::start(&run.task.settings);
        let start =
            Standing { iteration: 0, seconds: 0.0, decisions: 0, price, best: f64::INFINITY };
        let Some(weights) = self.folder.kept(&self.described)? else {
            return Ok((start, Adam::new(model.parameters(), constants)));
        };
        weights.load_into(model.parameters())?;
        let adam = weights.optimiser(model.parameters(), constants)?;
        let number = |key: &str| weights.origin().get(key).and_then(|it| it.parse::<f64>().ok());
        let standing = Standing {
            iteration: number("iteration").unwrap_or(0.0) as u64,
            seconds: number("seconds").unwrap_or(0.0),
            decisions: number("decisions").unwrap_or(0.0) as u64,
            price: Price {
                base: number("price").unwrap_or(price.base),
                excess: number("excess").unwrap_or(price.excess),
            },
            best: number("best").unwrap_or(start.best),
        };
        self.log.cut(standing.iteration)?;
        Ok((standing, adam))
    }

    /// Keeps the state of a run.
    fn keep(&self, model: &Model, adam: &Adam, standing: Standing) -> anyhow::Result<()> {
        let mut origin = BTreeMap::from([(Folder::SETTINGS.to_owned(), self.described.clone())]);
        for (key, value) in [
            ("iteration", standing.iteration as f64),
            ("seconds", standing.seconds),
            ("decisions", standing.decisions as f64),
            ("price", standing.price.base),
            ("excess", standing.price.excess),
            ("best", standing.best),
        ] {
            origin.insert(key.to_owned(), value.to_string());
        }
        let state = Weights::of(model.parameters())?.with_origin(origin).with_optimiser(adam);
        self.folder.write(Folder::CHECKPOINT, &state.to_bytes()?)
    }
}

fn train(run: &Run<'_>, model: &Arc<Model>) -> anyhow::Result<()> {
    let Run { args, task, .. } = run;
    let settings = &task.settings;
    let folder = Folder::new(&args.out)?;
    let kept = Kept { log: Log::new(&folder), folder, described: described(run) };
    let constants = AdamSettings { epsilon: 1e-5, max_norm: 0.5, ..AdamSettings::default() };
    let (mut standing, mut adam) = kept.resume(run, model, constants)?;
    let (begun, before) = (Instant::now(), standing.seconds);
    if standing.iteration == 0 && args.weights.is_none() {
        learn_shapes(run, model)?;
    }
    let average = average(&kept, model, standing.iteration > 0, settings.ablation)?;
    let mut looked = World::ALL.map(|_| Ratios { breach: f64::NAN, cost: f64::NAN });
    while standing.iteration < args.iterations {
        let mut judged = None;
        let seed = task.seed(standing.iteration);
        let clock = Instant::now();
        let episodes = episodes(run, model, standing)?;
        if standing.iteration == 0 {
            let mut statistics = Statistics::default();
            for (_, episode) in &episodes {
                statistics.add(episode);
            }
            statistics.set(model)?;
            average.parameters().set_flat(&model.parameters().to_flat()?)?;
        }
        let tried = against(run, &episodes)?;
        let episodes: Vec<Episode> = episodes.into_iter().map(|(_, episode)| episode).collect();
        let rollout_seconds = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let (said, epochs) = learn(run, model, &mut adam, &episodes, seed)?;
        let optimiser_seconds = clock.elapsed().as_secs_f64();
        follow(&average, model, settings.average_decay, standing.iteration)?;
        // By what is done without trying: what is tried costs pods that nobody will pay for later.
        let cost = tried_nothing(run, model, seed)?;
        standing.iteration += 1;
        standing.decisions += episodes.iter().map(|it| it.decisions as u64).sum::<u64>();
        standing.price.follow(cost, settings);
        standing.seconds = before + begun.elapsed().as_secs_f64();
        if standing.iteration.is_multiple_of(args.look) || standing.iteration == args.iterations {
            let own = look(run, &average)?;
            looked = World::ALL.map(|world| in_world(run, &own, world));
            judged = Some(own);
            let score = score(&looked, settings.cost_target);
            if score < standing.best {
                standing.best = score;
                kept.folder
                    .write("weights.safetensors", &bytes(run, &average, standing, looked)?)?;
            }
        }
        let line = Line {
            iteration: standing.iteration,
            seconds: standing.seconds,
            rollout_seconds,
            optimiser_seconds,
            decisions: standing.decisions,
            price: standing.price.now(settings),
            breach: tried.breach,
            cost: tried.cost,
            policy_loss: said.policy,
            critic_loss: said.critic,
            entropy: said.entropy,
            kl_first: said.kl[0],
            kl_second: said.kl[1],
            kl_third: said.kl[2],
            clipped: said.clipped,
            epochs,
            ..Line::seen(looked, mean_gained(&episodes))
        };
        kept.log.add(&line)?;
        let title = format!("Training of seed {}, {:?}", args.seed, args.stage);
        kept.folder.write("progress.html", plot::page(&kept.log.lines()?, &title).as_bytes())?;
        kept.folder.write(AVERAGE, &average.to_bytes(BTreeMap::new())?)?;
        kept.keep(model, &adam, standing)?;
        crate::cli::note(&line.progress(args.iterations));
        if let Some(own) = judged {
            stop_at_gaps(run, &own, standing)?;
        }
    }
    Ok(())
}

/// What traffic looks like, from the members that are trained on; says how well apps are known again in those of the looks.
fn learn_shapes(run: &Run<'_>, model: &Model) -> anyhow::Result<()> {
    let settings = &run.task.settings.shapes;
    let is_seen = run.task.settings.ablation != Some(Ablation::NoShapes);
    if !is_seen || !run.args.stage.levels().contains(&Level::Soldier) {
        return Ok(());
    }
    let (mut windows, mut others) = (Windows::default(), Windows::default());
    for at in 0..run.members.len() {
        windows.add(&run.members.get(at)?.0, settings);
    }
    run.judges.iter().for_each(|judge| others.add(judge, settings));
    let seed = Seed::of(Space::Training, run.args.seed).child("shapes");
    windows.learn(model, settings, seed.child("learn"))?;
    if !others.is_empty() {
        let [own, raw] = others.find(model, settings, seed.child("find"))?;
        crate::cli::note(&format!(
            "traffic shapes: of {} windows {:.0} % find their app again (as they are {:.0} %), loss {:.2} (as they are {:.2})",
            2 * settings.batch,
            100.0 * own.found,
            100.0 * raw.found,
            own.loss,
            raw.loss,
        ));
    }
    Ok(())
}

/// Writes what the gap detector found in the last look, and stops a run that is paid for what nobody wants.
fn stop_at_gaps(run: &Run<'_>, own: &[Watched], standing: Standing) -> anyhow::Result<()> {
    let settings = &run.task.settings.gap;
    let report = gaps(own, &run.ruled, standing.price.now(&run.task.settings), settings)
        .map_err(anyhow::Error::msg)?;
    let path = run.args.out.join("gaps.txt");
    crate::cli::files::write(&path, report.to_string().as_bytes())?;
    if let Some(flag) = report.flags.first() {
        let words = format!("after iteration {}: {flag}", standing.iteration);
        if !run.args.go_on {
            bail!("{words} The training stops ({}); --go-on goes on", path.display());
        }
        crate::cli::note(&format!("GAP {words}"));
    }
    Ok(())
}

/// The file of the mean of the weights.
const AVERAGE: &str = "average.safetensors";

/// The mean of the weights: that of the run which goes on, otherwise the weights themselves.
fn average(
    kept: &Kept,
    model: &Model,
    goes_on: bool,
    ablation: Option<Ablation>,
) -> anyhow::Result<Arc<Model>> {
    if goes_on {
        return Ok(Arc::new(ablated(scenarios::model(&kept.folder.file(AVERAGE))?, ablation)?));
    }
    let average = ablated(Model::untrained(Seed::root(0))?, ablation)?;
    average.parameters().set_flat(&model.parameters().to_flat()?)?;
    Ok(Arc::new(average))
}

/// Moves the mean a part of the way to the weights; at the beginning a larger one, or the start would stay in it
/// for long.
fn follow(average: &Model, model: &Model, decay: f64, iteration: u64) -> anyhow::Result<()> {
    let decay = decay.min((1 + iteration) as f64 / (10 + iteration) as f64) as f32;
    let mut mean = average.parameters().to_flat()?;
    for (mean, new) in mean.iter_mut().zip(model.parameters().to_flat()?) {
        *mean += (new - *mean) * (1.0 - decay);
    }
    Ok(average.parameters().set_flat(&mean)?)
}

impl Line {
    /// What the last look and the episodes said; the rest is 0.
    fn seen([usual, large, many]: Looked, gained: [f64; VALUES]) -> Self {
        let [breach, degradation, adherence, oscillation, cold, cost] = gained;
        Self {
            look_breach: usual.breach,
            look_cost: usual.cost,
            look_large_breach: large.breach,
            look_large_cost: large.cost,
            look_many_breach: many.breach,
            look_many_cost: many.cost,
            paid_breach: breach,
            paid_degradation: degradation,
            paid_adherence: adherence,
            paid_oscillation: oscillation,
            paid_cold: cold,
            paid_cost: cost,
            ..Self::default()
        }
    }

    fn progress(&self, iterations: u64) -> String {
        let left = self.seconds / self.iteration as f64 * (iterations - self.iteration) as f64;
        format!(
            "{}/{iterations}, about {left:.0} s left: breach {:.3} and cost {:.3} of the rule's while trying, {:.3} and {:.3} at the last look (large apps {:.3} and {:.3}, many {:.3} and {:.3}); price {:.2}, KL {:.4} {:.4} {:.4} after {} epochs, critic {:.3}",
            self.iteration,
            self.breach,
            self.cost,
            self.look_breach,
            self.look_cost,
            self.look_large_breach,
            self.look_large_cost,
            self.look_many_breach,
            self.look_many_cost,
            self.price,
            self.kl_first,
            self.kl_second,
            self.kl_third,
            self.epochs,
            self.critic_loss,
        )
    }
}

/// Everything that the weights depend on.
fn described(run: &Run<'_>) -> String {
    let args = run.args;
    let parts = [
        format!(
            "{} {:?} {} {} {:?}",
            args.seed, args.stage, args.episodes, args.members, args.levels
        ),
        format!("{:?}", run.task.settings),
        format!("{:?}", run.members.arm),
        format!("{:?}", args.weights.as_ref().map(|path| std::fs::read(path).ok())),
        features_hash(),
    ];
    format!("{} {}", parts[0], Fingerprint::of(parts.iter()))
}

/// The constants of the rule of an arm, as JSON.
fn constants(arm: &Arm) -> anyhow::Result<String> {
    let planner = arm.planner.as_ref().context("the arm has no rule")?;
    let Planning::Rules(rule) = &planner.policy else { bail!("the arm has no rule") };
    Ok(serde_json::to_string(rule)?)
}

fn bytes(
    run: &Run<'_>,
    model: &Model,
    standing: Standing,
    looked: Looked,
) -> anyhow::Result<Vec<u8>> {
    let out = format!(" --out {}", run.args.out.display());
    let mut origin = BTreeMap::from([
        ("command".to_owned(), provenance::command().replace(&out, "")),
        (Model::RULE.to_owned(), run.args.rule.clone()),
        (Model::CONSTANTS.to_owned(), constants(&run.members.arm)?),
        ("seed".to_owned(), run.args.seed.to_string()),
        ("iteration".to_owned(), standing.iteration.to_string()),
        (
            "at the look, of the rule's".to_owned(),
            format!("{}; large apps: {}; many: {}", looked[0], looked[1], looked[2]),
        ),
    ]);
    if let Some(ablation) = run.task.settings.ablation {
        origin.insert(Model::ABLATION.to_owned(), ablation.as_str().to_owned());
    }
    Ok(model.to_bytes(origin)?)
}

/// The episodes of one iteration, in their order, each with the place of its member.
fn episodes(
    run: &Run<'_>,
    model: &Arc<Model>,
    standing: Standing,
) -> anyhow::Result<Vec<(usize, Episode)>> {
    let iteration =
        Iteration { number: standing.iteration, price: standing.price.now(&run.task.settings) };
    let task = (&run.task, &run.members);
    let mut all = if let Some(orders) = &run.orders {
        orders.episodes(task, model, iteration, run.args.jobs)?
    } else {
        let numbers: Vec<u64> = (0..run.task.episodes).collect();
        made(task, model, iteration, &numbers, run.args.jobs)?
    };
    all.sort_by_key(|one| one.number);
    Ok(all.into_iter().map(|one| (one.at as usize, one.episode)).collect())
}

/// Breach and cost of episodes as multiples of the rule's in the same members.
fn against(run: &Run<'_>, episodes: &[(usize, Episode)]) -> anyhow::Result<Ratios> {
    let rule = episodes.iter().map(|(at, _)| Ok(&run.members.get(*at)?.1.totals));
    let rule = rule.collect::<anyhow::Result<Vec<&Totals>>>()?;
    Ok(ratios(episodes.iter().map(|(_, episode)| &episode.totals), rule.into_iter()))
}

/// Cost of the policy as it is, as a multiple of the rule's, in some members that are trained on: the mean over them, or
/// the largest alone would count. Without those whose forecasts are none or wrong: what is saved there is not what
/// usual ones may cost more.
fn tried_nothing(run: &Run<'_>, model: &Arc<Model>, seed: Seed) -> anyhow::Result<f64> {
    let members = &run.members;
    let usual = members.usual();
    let count = run.args.episodes.div_ceil(4).min(usual.len()).max(1);
    let first = seed.child("price").draw(0).below(usual.len());
    // All levels as often, and each time another number: the same one would be of the same size everywhere.
    let step = usual.len() / count + 1;
    let places: Vec<usize> =
        (0..count).map(|place| usual[(first + place * step) % usual.len()]).collect();
    let arm = arms::on_top_of(&run.args.rule, Arc::clone(model), Part::Whole)
        .context("there is no rule")?;
    let mut all = jobs::quietly(&places, run.args.jobs, |at| {
        let (member, twin) = members.get(*at)?;
        let totals = as_it_is(member, &arm).map_err(anyhow::Error::msg)?;
        Ok((*at, totals.core_hours / twin.totals.core_hours))
    })?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.iter().map(|(_, cost)| cost).sum::<f64>() / count as f64)
}

/// The weights without trying, in the members that are not trained on.
fn look(run: &Run<'_>, model: &Arc<Model>) -> anyhow::Result<Vec<Watched>> {
    let arm = arms::on_top_of(&run.args.rule, Arc::clone(model), Part::Whole)
        .context("there is no rule")?;
    watched(&run.judges, &arm, &run.task.settings, run.args.jobs)
}

/// An arm in all members, in their order.
fn watched(
    members: &[Member],
    arm: &Arm,
    settings: &Settings,
    threads: Option<NonZeroUsize>,
) -> anyhow::Result<Vec<Watched>> {
    let places: Vec<usize> = (0..members.len()).collect();
    let mut all = jobs::quietly(&places, threads, |at| {
        let watched = watch(&members[*at], arm, settings).map_err(anyhow::Error::msg)?;
        Ok((*at, watched))
    })?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, watched)| watched).collect())
}

/// Breach and cost as multiples of the rule's in the same members.
#[derive(Debug, Clone, Copy)]
struct Ratios {
    breach: f64,
    cost: f64,
}

impl std::fmt::Display for Ratios {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "breach {:.4}, cost {:.4}", self.breach, self.cost)
    }
}

/// Those of some runs.
fn ratios<'a>(
    own: impl Iterator<Item = &'a Totals>,
    rule: impl Iterator<Item = &'a Totals>,
) -> Ratios {
    let (own, rule): (Totals, Totals) = (own.sum(), rule.sum());
    Ratios {
        breach: own.weighted_breach / rule.weighted_breach,
        cost: own.core_hours / rule.core_hours,
    }
}

/// What a look is worth, less is better: the mean over the worlds that there are. Beyond the rule's cost a breach less is
/// none: the search for constants would have bought it too.
fn score(looked: &[Ratios], cost_target: f64) -> f64 {
    let each = looked.iter().map(|it| it.breach + 3.0 * (it.cost / cost_target - 1.0).max(0.0));
    let known: Vec<f64> = each.filter(|score| score.is_finite()).collect();
    known.iter().sum::<f64>() / known.len() as f64
}

/// Those of a look, by [`World::ALL`]: what is good for one may be paid for by the other.
type Looked = [Ratios; World::ALL.len()];

/// Those of a look in the members of one world.
fn in_world(run: &Run<'_>, own: &[Watched], world: World) -> Ratios {
    let these = |runs: &'_ [Watched]| -> Vec<Totals> {
        let members = run.judges.iter().zip(runs);
        let these = members.filter(|(member, _)| World::of(member.number) == world);
        these.map(|(_, run)| run.totals).collect()
    };
    ratios(these(own).iter(), these(&run.ruled).iter())
}

/// The mean over episodes of what their apps were paid beyond the rule.
fn mean_gained(episodes: &[Episode]) -> [f64; VALUES] {
    let count = episodes.len().max(1) as f64;
    std::array::from_fn(|term| episodes.iter().map(|it| it.gained[term]).sum::<f64>() / count)
}

/// Epochs over the episodes; what the last whole one said, and how many there were.
fn learn(
    run: &Run<'_>,
    model: &Model,
    adam: &mut Adam,
    episodes: &[Episode],
    seed: Seed,
) -> anyhow::Result<(Said, u64)> {
    let settings = &run.task.settings;
    let scales = Scales::of(episodes);
    let copies =
        (0..SHARDS).map(|_| Model::untrained(Seed::root(0))).collect::<Result<Vec<_>, _>>()?;
    let (mut last, mut done) = (Said::default(), 0);
    for level in run.args.stage.levels() {
        let mut heads = Heads::all(*level);
        'epochs: for epoch in 0..settings.epochs {
            let mut said = Said::default();
            let order = seed.child(level.prefix()).nth(epoch);
            let batches = ppo::shuffled(ppo::count(episodes, *level), settings.batch, order);
            for batch in &batches {
                let (gradients, part) =
                    shards(&copies, model, *level, episodes, batch, heads, (&scales, settings))?;
                heads.close(&part.kl, settings.kl_limit);
                if !heads.any() {
                    last.kl = part.kl;
                    break 'epochs;
                }
                adam.step(model.parameters(), gradients, level.rate(settings))?;
                said.add(&part, 1.0 / batches.len() as f64);
            }
            (last, done) = (said, epoch + 1);
        }
    }
    Ok((last, done))
}

/// Mean gradients of the parts of one step, each on a thread and a network of its own.
fn shards(
    copies: &[Model],
    model: &Model,
    level: Level,
    episodes: &[Episode],
    batch: &[usize],
    heads: Heads,
    (scales, settings): (&Scales, &Settings),
) -> anyhow::Result<(Gradients, Said)> {
    let flat = model.parameters().to_flat()?;
    let parts: Vec<&[usize]> = batch.chunks(batch.len().div_ceil(SHARDS)).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = copies
            .iter()
            .zip(&parts)
            .map(|(copy, part)| {
                let flat = &flat;
                scope.spawn(move || {
                    copy.parameters().set_flat(flat)?;
                    ppo::gradients(copy, level, episodes, part, heads, (scales, settings))
                })
            })
            .collect();
        running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let (mut gradients, mut said) = (Vec::new(), Said::default());
    for (answer, part) in answers.into_iter().zip(&parts) {
        let weight = part.len() as f64 / batch.len() as f64;
        let (its, own) = answer.map_err(|_| anyhow::anyhow!("a training thread panicked"))??;
        gradients.push((weight, its));
        said.add(&own, weight);
    }
    Ok((Gradients::weighted(gradients)?, said))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(args_override_self = true)]
    struct Words {
        #[command(flatten)]
        args: Args,
    }

    /// Without a forecast and at one level, which is quick.
    const ONE: [&str; 4] = ["--levels", "1", "--rule", "rules"];

    fn trained(out: &Path, iterations: &str, more: &[&str]) -> anyhow::Result<ExitCode> {
        let out = out.to_string_lossy();
        let words = ["policy", "--members", "1", "--look-members", "1"];
        let rest = ["--episodes", "2", "--look", "1", "--iterations", iterations];
        let out = ["--out", &out];
        let all = words.iter().chain(&rest).chain(&out).chain(more).copied();
        run(&Words::parse_from(all.collect::<Vec<_>>()).args)
    }

    #[test]
    fn a_run_that_was_cut_off_goes_on_to_the_same_weights() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        trained(&one, "2", &ONE).unwrap();
        trained(&two, "1", &ONE).unwrap();
        trained(&two, "2", &ONE).unwrap();
        let state = |of: &Path| {
            let state =
                Weights::from_bytes(&fs::read(of.join(Folder::CHECKPOINT)).unwrap()).unwrap();
            let model = Model::untrained(Seed::root(0)).unwrap();
            state.load_into(model.parameters()).unwrap();
            model.parameters().to_flat().unwrap()
        };
        assert!(state(&one) == state(&two), "going on gave other weights");
        let lines = fs::read_to_string(two.join("log.csv")).unwrap();
        assert_eq!(lines.lines().count(), 3, "{lines}");
        let model = Model::from_bytes(&fs::read(one.join("weights.safetensors")).unwrap()).unwrap();
        assert_eq!(model.origin()["rule"], "rules");
        let error =
            trained(&one, "2", &[&ONE[..], &["--seed", "5"]].concat()).unwrap_err().to_string();
        assert!(error.contains("other settings"), "{error}");
    }

    #[test]
    fn workers_make_the_episodes_and_a_missing_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (alone, together) = (folder.path().join("alone"), folder.path().join("together"));
        let share = folder.path().join("share");
        trained(&alone, "2", &ONE).unwrap();
        std::thread::scope(|scope| {
            // The second of three workers never comes.
            for worker in [0, 2] {
                let share = &share;
                let patience = Duration::from_mins(1);
                scope.spawn(move || share::work(share, (worker, 3), patience, None).unwrap());
            }
            let words = ["--share", &share.to_string_lossy(), "--workers", "3"];
            let more = [&ONE[..], &words, &["--episodes", "4", "--worker-limit", "5"]].concat();
            // The words of the test are given twice: the last ones count.
            trained(&together, "2", &more).unwrap();
        });
        let more = [&ONE[..], &["--episodes", "4"]].concat();
        let four = folder.path().join("four");
        trained(&four, "2", &more).unwrap();
        let kept = |of: &Path| fs::read(of.join(AVERAGE)).unwrap();
        assert!(kept(&together) == kept(&four), "workers changed the weights");
        assert!(kept(&together) != kept(&alone), "the episodes make no difference");
    }

    #[test]
    fn what_is_left_out_stays_out_and_is_named_in_the_weights() {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("settings.yaml");
        for (ablation, asks) in [("meanPool", false), ("flat", true)] {
            fs::write(&settings, format!("ablation: {ablation}")).unwrap();
            let out = folder.path().join(ablation);
            let more = ["--settings", &settings.to_string_lossy()];
            trained(&out, "1", &[&ONE[..], &more].concat()).unwrap();
            let model =
                Model::from_bytes(&fs::read(out.join("weights.safetensors")).unwrap()).unwrap();
            assert_eq!(model.ablation(), Some(ablation));
            let query = model.parameters().get("soldier.attention.query.weight").unwrap();
            let values = query.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(values.iter().any(|it| *it != 0.0), asks, "{ablation}");
        }
    }

    #[test]
    fn what_cannot_be_trained_is_refused_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |more: &[&str]| {
            let error = trained(folder.path(), "1", more).unwrap_err();
            format!("{error:#}")
        };
        assert!(refused(&["--rule", "hpa"]).contains("no rule"), "{}", refused(&["--rule", "hpa"]));
        assert!(refused(&["--levels", "9"]).contains("levels 1 to 8"));
        assert!(refused(&["--members", "0"]).contains("at least one"));
        let weights = folder.path().join("weights");
        fs::write(&weights, b"not weights").unwrap();
        assert!(
            refused(&[&ONE[..], &["--weights", &weights.to_string_lossy()]].concat())
                .contains("weights")
        );
        let settings = folder.path().join("settings.yaml");
        fs::write(&settings, "clip: 7").unwrap();
        assert!(
            refused(&[&ONE[..], &["--settings", &settings.to_string_lossy()]].concat())
                .contains("clip must be")
        );
    }
}
