use std::sync::Arc;

use super::ppo::{self, Heads, Level, Scales};
use super::*;
use crate::nn::{Adam, AdamSettings};
use crate::policy::hirl::Model;
use crate::seed::{Seed, Space};
use crate::simulation::Foresight;
use crate::simulation::arms::{self, Arm, Part};

/// A member cut to this many minutes, whose forecasts cost nothing.
fn short(level: u8, minutes: f64) -> Member {
    let mut member = member_without_forecasts(Space::Training, level, 0).unwrap();
    let scenario = Arc::make_mut(&mut member.scenario);
    scenario.duration_seconds = minutes * 60.0;
    scenario.warm_up_seconds = 60.0;
    member
}

fn member_without_forecasts(space: Space, level: u8, number: u64) -> Result<Member, String> {
    let seed = Seed::of(space, number);
    let scenario = crate::simulation::scenario::families::generate(level, seed);
    let scenario = Arc::new(scenario.map_err(|error| error.to_string())?);
    Ok(Member { level, number, scenario, seed, foresight: Arc::new(Foresight::none()) })
}

fn arm() -> Arm {
    arms::arm("rules+forecast").unwrap()
}

fn learned(model: Arc<Model>) -> Arm {
    arms::on_top_of("rules+forecast", model, Part::Whole).unwrap()
}

/// So many epochs of steps of this length over episodes, with every head of the level and the numbers that ship;
/// `check` hears what each step said.
fn learn(
    model: &Model,
    level: Level,
    episodes: &[Episode],
    (epochs, batch, rate): (u64, usize, f64),
    check: impl Fn(&ppo::Said),
) {
    let settings = Settings::default();
    let scales = Scales::of(episodes);
    let mut adam = Adam::new(model.parameters(), AdamSettings::default());
    for epoch in 0..epochs {
        for batch in ppo::shuffled(ppo::count(episodes, level), batch, Seed::root(epoch)) {
            let (heads, with) = (Heads::all(level), (&scales, &settings));
            let (gradients, said) =
                ppo::gradients(model, level, episodes, &batch, heads, with).unwrap();
            check(&said);
            adam.step(model.parameters(), gradients, rate).unwrap();
        }
    }
}

fn untrained() -> Arc<Model> {
    Arc::new(Model::untrained(Seed::root(3)).unwrap())
}

#[test]
fn of_six_members_two_have_large_apps_and_one_has_many() {
    let worlds: Vec<World> = (0..6).map(World::of).collect();
    let count = |world| worlds.iter().filter(|it| **it == world).count();
    assert_eq!(World::ALL.map(count), [3, 2, 1]);
    let many = worlds.iter().position(|it| *it == World::Many).unwrap() as u64;
    let apps = member(Space::Gates, 6, many).unwrap().scenario.apps.len();
    assert!((240..400).contains(&apps), "{apps}");
}

#[test]
fn an_untrained_model_lives_the_rules_life_to_the_last_pod() {
    for level in [2, 6] {
        let member = short(level, 30.0);
        let twin = twin(&member, &arm(), &Settings::default()).unwrap();
        assert_eq!(as_it_is(&member, &learned(untrained())).unwrap(), twin.totals);
    }
}

fn explored(member: &Member, explore: Explore, price: f64) -> Episode {
    let settings = Settings::default();
    let twin = twin(member, &arm(), &settings).unwrap();
    let seed = Seed::root(9);
    let circumstances = Circumstances { price, is_taught: false, seed };
    episode((member, &twin), &arm(), &untrained(), explore, &settings, circumstances).unwrap()
}

#[test]
fn an_episode_is_a_function_of_its_seed() {
    let member = short(4, 20.0);
    let both = [(); 2].map(|()| explored(&member, Explore::Both, 0.5));
    let [one, other] = both;
    assert_eq!(one.totals, other.totals);
    assert_eq!((one.faults, one.soldiers.len() > 15), (0, true));
    let paid = |episode: &Episode| {
        let soldiers = episode.soldiers.iter().flat_map(|it| it.advantages.clone());
        soldiers
            .chain(episode.commander.iter().flat_map(|it| it.returns.as_flattened().to_vec()))
            .collect::<Vec<_>>()
    };
    assert_eq!(paid(&one), paid(&other));
    // Two domains or three, one command a minute.
    assert_eq!(one.commander.len(), 20);
}

#[test]
fn cores_beyond_the_rules_cost_their_price() {
    let member = short(1, 10.0);
    let cheap = explored(&member, Explore::Soldiers { random_budgets: true }, 0.0);
    let dear = explored(&member, Explore::Soldiers { random_budgets: true }, 50.0);
    assert_eq!(cheap.totals, dear.totals);
    let sum = |episode: &Episode| -> f64 {
        episode.soldiers.iter().flat_map(|it| &it.advantages).map(|it| f64::from(*it)).sum()
    };
    assert!((sum(&cheap) - sum(&dear)).abs() > 1.0, "{} {}", sum(&cheap), sum(&dear));
}

/// The chance of the last step, by the model, in the sample.
fn chance_of_most(model: &Model, episode: &Episode) -> f64 {
    let views: Vec<_> = episode.soldiers.iter().map(|it| &it.step.view).collect();
    let batch = crate::policy::hirl::network::SoldierBatch::new(&views).unwrap();
    let steps = model.soldier.say(&batch).unwrap().steps.to_vec3::<f32>().unwrap();
    let chance = |logits: &[f32]| {
        let sum: f32 = logits.iter().map(|it| it.exp()).sum();
        f64::from(logits[4].exp() / sum)
    };
    let each = steps.iter().flatten().map(|logits| chance(logits));
    each.sum::<f64>() / steps.iter().flatten().count() as f64
}

#[test]
fn what_paid_off_gets_likelier_and_the_other_level_stays_as_it_is() {
    let member = short(3, 10.0);
    let mut episode = explored(&member, Explore::Both, 0.5);
    for sample in &mut episode.soldiers {
        let good = sample.step.steps.iter().map(|step| if *step == 4 { 1.0 } else { -0.1 });
        sample.advantages = good.collect();
    }
    let episodes = [episode];
    let model = untrained();
    let before = chance_of_most(&model, &episodes[0]);
    let commander = |model: &Model| {
        let own = model.parameters().iter().filter(|(name, _)| name.starts_with("commander"));
        own.flat_map(|(_, it)| it.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .collect::<Vec<_>>()
    };
    let untouched = commander(&model);
    learn(&model, Level::Soldier, &episodes, (6, 32, 3e-3), |said| {
        assert!(said.kl.iter().all(|kl| *kl >= -1e-6) && said.policy.is_finite());
    });
    let after = chance_of_most(&model, &episodes[0]);
    assert!(after > 1.2 * before, "{before} {after}");
    assert_eq!(commander(&model), untouched);
}

#[test]
fn a_commander_learns_from_what_its_domains_were_paid() {
    let member = short(4, 15.0);
    let mut episode = explored(&member, Explore::Both, 0.5);
    for sample in &mut episode.commander {
        sample.advantages = sample.step.headroom.iter().map(|said| said.signum()).collect();
    }
    let episodes = [episode];
    let model = untrained();
    let mean = |model: &Model| {
        let views: Vec<_> = episodes[0].commander.iter().map(|it| &it.step.view).collect();
        let batch = crate::policy::hirl::network::CommanderBatch::new(&views).unwrap();
        let said = model.commander.forward(&batch).unwrap().headroom;
        said.mean_all().unwrap().to_scalar::<f32>().unwrap()
    };
    assert_eq!(mean(&model), 0.0);
    learn(&model, Level::Commander, &episodes, (8, 8, 1e-3), |_| {});
    assert!(mean(&model) > 0.01, "{}", mean(&model));
}

#[test]
fn statistics_are_those_of_what_was_seen_and_move_no_decision_of_an_untrained_model() {
    let member = short(6, 10.0);
    let episode = explored(&member, Explore::Both, 0.5);
    let model = untrained();
    let mut statistics = Statistics::default();
    statistics.add(&episode);
    statistics.set(&model).unwrap();
    let read = |name: &str| model.parameters().get(name).unwrap().to_vec1::<f32>().unwrap();
    let seen: Vec<f32> =
        episode.soldiers.iter().flat_map(|it| &it.step.view.apps).map(|it| it[2]).collect();
    let mean = seen.iter().sum::<f32>() / seen.len() as f32;
    assert!((read("soldier.app_statistics.mean")[2] - mean).abs() < 1e-4);
    assert!(read("commander.statistics.deviation").iter().all(|it| *it >= 0.05));
    let twin = twin(&member, &arm(), &Settings::default()).unwrap();
    assert_eq!(as_it_is(&member, &learned(model)).unwrap(), twin.totals);
}

#[test]
fn who_is_taught_says_what_the_teacher_would_have_said() {
    let member = short(3, 10.0);
    // It wants far more than the rule, so that its answer is two steps up.
    let teacher = Teacher { iterations: 1, seconds: 60.0, margin: 3.0 };
    let settings = Settings { teacher, ..Settings::default() };
    let twin = twin(&member, &arm(), &settings).unwrap();
    let taught = |is_taught: bool| {
        let circumstances = Circumstances { price: 0.5, is_taught, seed: Seed::root(9) };
        let explore = Explore::Soldiers { random_budgets: false };
        episode((&member, &twin), &arm(), &untrained(), explore, &settings, circumstances).unwrap()
    };
    let alone = taught(false);
    assert!(alone.soldiers.iter().all(|it| it.taught.is_empty()));
    let episodes = [taught(true)];
    assert_eq!(episodes[0].totals, alone.totals, "a teacher changes no step");
    let said: Vec<u32> = episodes[0].soldiers.iter().flat_map(|it| it.taught.clone()).collect();
    assert!(said.iter().filter(|step| **step == 4).count() * 10 > said.len() * 9, "{said:?}");
    let model = untrained();
    let before = chance_of_most(&model, &episodes[0]);
    learn(&model, Level::Soldier, &episodes, (6, 32, 3e-3), |said| {
        assert_eq!(said.kl, [0.0; 3], "nothing stops who imitates");
    });
    let after = chance_of_most(&model, &episodes[0]);
    assert!(after > 2.0 * before, "{before} {after}");
}
