//! Scenarios by the dozen: a family per level, whose members differ in sizes, traffic, delays and
//! what happens. A seed is a member.
//!
//! What the levels have in common is in [`generate`]; what sets them apart is in `plot`.

use rand_distr::{Distribution, StandardUniform};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::text::{AppText, Document, Drawn, Error, HpaText, Located, Spread, StartText, monday};
use super::{
    BatchWindow, CallSpec, Constants, ControllerSpec, DomainSpec, EventKind, EventSpec, FaultKind,
    FaultSpec, LogNormalSpec, Pattern, PoolSpec, Provisioner, Range, Reach, Scenario,
    TelemetrySpec,
};
use crate::cluster::{Class, Timestamp};
use crate::simulation::{Seed, Traffic};

/// Levels that have a family.
pub const LEVELS: std::ops::RangeInclusive<u8> = 1..=8;

/// Length of every member, in seconds: two hours after half an hour of warm-up.
const DURATION: f64 = 9000.0;
const WARM_UP: f64 = 1800.0;

/// The character of a domain: name, class, weight, SLO in seconds, mean service time in seconds.
type Character = (&'static str, Class, f64, f64, f64);

const CHARACTERS: [Character; 5] = [
    ("payments", Class::P0, 1.0, 0.2, 0.022),
    ("fraud", Class::P0, 0.9, 0.15, 0.016),
    ("merchant", Class::P1, 0.8, 0.4, 0.045),
    ("data", Class::P2, 0.5, 2.0, 0.2),
    ("platform", Class::P3, 0.3, 1.0, 0.11),
];

/// Random numbers with the few shapes that a member needs.
#[derive(Debug)]
struct Dice(Xoshiro256PlusPlus);

impl Dice {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        let part: f64 = StandardUniform.sample(&mut self.0);
        low + (high - low) * part
    }

    /// A whole number from `low` to `high`, both included.
    fn count(&mut self, low: u32, high: u32) -> u32 {
        (self.between(f64::from(low), f64::from(high) + 1.0) as u32).min(high)
    }

    fn chance(&mut self, part: f64) -> bool {
        self.between(0.0, 1.0) < part
    }
}

/// One member of the family of a level (1 to 8). The same level and seed give the same member.
///
/// | level | domains | pool | what happens |
/// |---|---|---|---|
/// | 1 | one | ample | nothing: steady traffic |
/// | 2 | one | ample | a clock, and spikes of their own |
/// | 3 | two or three | ample | all spike together |
/// | 4 | two or three | tight, nodes slow | one spike |
/// | 5 | four to eight | ample | each its own |
/// | 6 | four to six | tight | overlapping spikes |
/// | 7 | four to six | tight | one cause moves several domains |
/// | 8 | five | tight | one of seven attacks, named in the description |
pub fn generate(level: u8, seed: Seed) -> Result<Scenario, Error> {
    let origin = format!("level {level}");
    if !LEVELS.contains(&level) {
        let sentence = format!("there are levels 1 to 8, and {level} is none");
        return Err(Error { origin, line: None, sentence });
    }
    let seed = seed.child("family").nth(u64::from(level));
    let mut dice = Dice(seed.child("dice").rng());
    let count = match level {
        1 | 2 => 1,
        3 | 4 => dice.count(2, 3),
        5 => dice.count(4, 8),
        6 | 7 => dice.count(4, 6),
        _ => 5,
    };
    let mut document = Document {
        name: format!("level-{level}"),
        description: String::new(),
        level,
        start: monday_at(dice.between(0.0, 168.0)),
        duration_seconds: DURATION,
        warm_up_seconds: WARM_UP,
        step_seconds: 10.0,
        domains: Vec::new(),
        apps: Vec::new(),
        // As large as can be, until the demand is known.
        pools: vec![pool(&mut dice).into()],
        calls: Vec::new(),
        events: Vec::new(),
        faults: Vec::new(),
        telemetry: telemetry(&mut dice).into(),
        controller: ControllerSpec::default().into(),
        constants: constants(&mut dice, level).into(),
    };
    // A single domain is any of those that have traffic of their own.
    let first = if count == 1 { [0, 2, 3, 4][dice.count(0, 3) as usize] } else { 0 };
    for index in 0..count as usize {
        domain(&mut document, &mut dice, first + index);
    }
    if count > 1 {
        document.calls.push(Located::from(CallSpec {
            from: CHARACTERS[0].0.to_owned(),
            to: CHARACTERS[1].0.to_owned(),
            per_request: dice.between(0.3, 1.0),
            lag_seconds: dice.between(10.0, 30.0),
            inline: true,
        }));
    }
    let slack = plot(&mut document, &mut dice);
    let mut scenario = document.expand(&origin, seed)?;
    furnish(&mut scenario, slack);
    let flawed = |flaw: super::Flaw| Error { origin, line: None, sentence: flaw.sentence };
    scenario.validate().map_err(flawed)?;
    Ok(scenario)
}

fn monday_at(hours: f64) -> Timestamp {
    Timestamp::from_seconds(monday().as_seconds() + (hours * 60.0).round() * 60.0)
}

fn pool(dice: &mut Dice) -> PoolSpec {
    let node_cpu = [7.9, 15.8, 31.7][dice.count(0, 2) as usize];
    PoolSpec {
        name: "general".to_owned(),
        shared: true,
        zones: dice.count(1, 3),
        node_cpu,
        node_memory_gib: node_cpu * 3.7,
        node_pods: 110,
        nodes: 1,
        min_nodes: 1,
        max_nodes: 100_000,
        provisioner: if dice.chance(0.8) { Provisioner::Batching } else { Provisioner::Scanning },
    }
}

/// Lags within what `learning.md` 5.2 gives, and sometimes a lossy pipeline.
fn telemetry(dice: &mut Dice) -> TelemetrySpec {
    let plain = TelemetrySpec::default();
    let lossy = dice.chance(0.2);
    TelemetrySpec {
        lost: if lossy { dice.between(0.0, 0.05) } else { 0.0 },
        nan: if lossy { dice.between(0.0, 0.01) } else { 0.0 },
        noise: dice.between(0.0, 0.05),
        ..plain
    }
}

fn constants(dice: &mut Dice, level: u8) -> Constants {
    let plain = Constants::default();
    // 45 to 90 s is what was seen; under pressure nodes come late.
    let slow = if matches!(level, 4 | 8) { dice.between(1.0, 3.0) } else { 1.0 };
    Constants {
        node_start: LogNormalSpec {
            median: dice.between(45.0, 90.0) * slow,
            sigma: plain.node_start.sigma,
        },
        launch_failure: dice.between(0.0, 0.03),
        ..plain
    }
}

/// Adds a domain with one or two groups of apps.
fn domain(document: &mut Document, dice: &mut Dice, number: usize) {
    let (base, class, weight, slo, service) = CHARACTERS[number % CHARACTERS.len()];
    let round = number / CHARACTERS.len();
    let name = if round == 0 { base.to_owned() } else { format!("{base}-{}", round + 1) };
    let derived = name == "fraud";
    let traffic = match base {
        _ if document.level == 1 || derived => Pattern::Steady,
        "data" => Pattern::Batch {
            windows: vec![BatchWindow {
                from_hour: dice.between(0.0, 24.0),
                hours: dice.between(1.0, 6.0),
                level: dice.between(1.2, 2.5),
            }],
            idle: dice.between(0.3, 0.8),
        },
        "platform" | "merchant" => Pattern::Office {
            from_hour: dice.between(6.0, 9.0),
            to_hour: dice.between(16.0, 20.0),
            idle: dice.between(0.1, 0.5),
        },
        _ => Pattern::Diurnal {
            swing: dice.between(0.1, 0.6),
            peak_hour: dice.between(10.0, 21.0),
            weekend: dice.between(0.5, 1.2),
        },
    };
    document.domains.push(Located::from(DomainSpec {
        name: name.clone(),
        class,
        weight,
        slo_p99_seconds: slo,
        slo_error_ratio: 0.001,
        floor_share: dice.between(0.01, 0.06),
        traffic,
        noise: dice.between(0.0, 0.06),
        noise_seconds: dice.between(120.0, 900.0),
    }));
    for group in ["edge", "core"].iter().take(dice.count(1, 2) as usize) {
        let mut app = group_of(dice, &name, group, service);
        if derived {
            app.call_weight = log_normal(1.0, 1.0);
        } else {
            app.rps = log_normal(1.0, dice.between(0.5, 1.3));
            // A pod at the HPA's target takes this much; so the group has 40 to 250 pods.
            let per_pod = f64::from(app.workers) / service * app.hpa.target_cpu / 1.3;
            app.total_rps = Some(dice.between(40.0, 250.0) * per_pod);
        }
        document.apps.push(app.into());
    }
}

fn log_normal(median: f64, sigma: f64) -> Spread {
    Spread::Drawn(Drawn::LogNormal(LogNormalSpec { median, sigma }))
}

fn uniform(low: f64, high: f64) -> Spread {
    Spread::Drawn(Drawn::Uniform(Range { low, high }))
}

fn group_of(dice: &mut Dice, domain: &str, name: &str, service: f64) -> AppText {
    let low = dice.between(0.2, 0.8);
    let request = uniform(low, low * dice.between(1.0, 2.0));
    // Go, JVM, or a model: `learning.md` 5.2, "App readiness on top".
    let (fast, slow) = [(1.0, 3.0), (20.0, 60.0), (30.0, 180.0)][dice.count(0, 2) as usize];
    let jvm = slow == 60.0;
    let count = dice.count(8, 20);
    AppText {
        workers: [4, 4, 8, 16][dice.count(0, 3) as usize],
        noise: dice.between(0.02, 0.15),
        noise_seconds: dice.between(30.0, 300.0),
        service_scv: uniform(0.5, 2.0),
        arrival_scv: uniform(0.8, 2.0),
        retries: dice.count(0, 2),
        start: StartText {
            ready_median_seconds: uniform(fast, slow),
            ready_sigma: 0.4,
            warm_seconds: if jvm { dice.between(0.0, 90.0) } else { 0.0 },
            cold_speed: if jvm { dice.between(0.3, 1.0) } else { 1.0 },
        },
        hpa: HpaText { target_cpu: dice.between(0.55, 0.75), ..HpaText::default() },
        ..AppText::group(domain, name, count, log_normal(service, 0.15), request)
    }
}

/// A spike of one domain's own traffic. Half of them are in the calendar.
fn spike(dice: &mut Dice, domain: &str, kind: EventKind, start: f64) -> EventSpec {
    let announced = dice.chance(0.5).then(|| (start - late(dice.between(0.0, 1.0))).max(0.0));
    let mut event = EventSpec {
        name: format!("{domain} at {start:.0} s"),
        kind,
        reach: Reach { domains: vec![domain.to_owned()], ..Reach::default() },
        start_seconds: start,
        ramp_seconds: dice.between(15.0, 180.0),
        hold_seconds: dice.between(300.0, 1200.0),
        decay_seconds: dice.between(120.0, 900.0),
        factor: dice.between(1.8, 4.0),
        announced_seconds: announced,
        announced_factor: None,
    };
    event.announced_factor = announced.map(|_| said(event.factor, dice.between(0.0, 1.0)));
    event
}

/// The same with another factor, which is announced as rightly or wrongly as the one before.
fn of_size(mut event: EventSpec, factor: f64) -> EventSpec {
    let as_wrong = |said: f64| (said * factor / event.factor).max(1.05);
    event.announced_factor = event.announced_factor.map(as_wrong);
    event.factor = factor;
    event
}

/// Part of the announcements that are right. Assumed, as in the history that forecasters learn from
/// (`forecast/generator`): people know when their sale begins, mostly.
const RIGHT: f64 = 0.6;

/// By how much the world is later than the calendar, in seconds, for a uniform number: mostly not at all, else up to
/// a quarter of an hour earlier or 20 minutes later.
fn late(uniform: f64) -> f64 {
    if uniform < RIGHT { 0.0 } else { -900.0 + 2100.0 * (uniform - RIGHT) / (1.0 - RIGHT) }
}

/// What the calendar says of a factor: mostly within 7 % of the truth, else between 0.6 and 1.6 of it.
fn said(factor: f64, uniform: f64) -> f64 {
    let within = |low: f64, high: f64, part: f64| low * (high / low).powf(part);
    let error = if uniform < RIGHT {
        within(0.93, 1.07, uniform / RIGHT)
    } else {
        within(0.6, 1.6, (uniform - RIGHT) / (1.0 - RIGHT))
    };
    (factor * error).max(1.05)
}

/// What happens in a member. Returns the quota of the pool as a multiple of the highest demand.
fn plot(document: &mut Document, dice: &mut Dice) -> f64 {
    let names: Vec<String> =
        document.domains.iter().map(|domain| domain.value.name.clone()).collect();
    // Fraud follows payments; it has no traffic of its own to spike.
    let own: Vec<&String> = names.iter().filter(|name| *name != "fraud").collect();
    let start = dice.between(WARM_UP + 600.0, DURATION - 3600.0);
    let mut spikes: Vec<EventSpec> = Vec::new();
    let (sentence, slack) = match document.level {
        1 => ("One domain, steady.".to_owned(), 2.5),
        2 => {
            for number in 0..dice.count(1, 3) {
                let at = WARM_UP + 600.0 + f64::from(number) * 2200.0 + dice.between(0.0, 300.0);
                spikes.push(spike(dice, own[0], EventKind::Surge, at));
            }
            ("One domain with its clock and isolated spikes.".to_owned(), 2.5)
        }
        3 => {
            spikes.extend(own.iter().map(|name| spike(dice, name, EventKind::FlashSale, start)));
            ("All domains spike together; the pool is ample.".to_owned(), 2.5)
        }
        4 => {
            spikes.push(spike(dice, own[0], EventKind::FlashSale, start));
            ("A spike in a pool whose quota is tight and whose nodes come late.".to_owned(), 0.95)
        }
        5 => {
            for name in &own {
                if dice.chance(0.5) {
                    let at = dice.between(WARM_UP, DURATION - 2400.0);
                    spikes.push(spike(dice, name, EventKind::Promotion, at));
                }
            }
            ("Many domains, each on its own, and room for all.".to_owned(), 2.5)
        }
        6 => {
            for name in own.iter().take(3) {
                let at = start + dice.between(0.0, 900.0);
                spikes.push(spike(dice, name, EventKind::Surge, at));
            }
            ("Spikes overlap in a pool that cannot hold them all.".to_owned(), 0.85)
        }
        7 => {
            for (number, name) in own.iter().enumerate() {
                // One cause, which reaches the others a little later and weaker.
                let at = start + number as f64 * dice.between(30.0, 240.0);
                let event = spike(dice, name, EventKind::Payday, at);
                let weaker = 1.0 + (event.factor - 1.0) / (1.0 + number as f64 * 0.5);
                let event = of_size(event, weaker);
                spikes.push(event);
            }
            ("One cause moves several domains in a tight pool.".to_owned(), 0.9)
        }
        _ => attack(document, dice, &mut spikes, start),
    };
    document.description = sentence;
    document.events = spikes.into_iter().map(Located::from).collect();
    slack
}

/// The attacks of level 8.
fn attack(
    document: &mut Document,
    dice: &mut Dice,
    spikes: &mut Vec<EventSpec>,
    start: f64,
) -> (String, f64) {
    let reach = |name: &str| Reach { domains: vec![name.to_owned()], ..Reach::default() };
    let mut fault = |start_seconds, duration_seconds, fault| {
        document.faults.push(Located::from(FaultSpec { start_seconds, duration_seconds, fault }));
    };
    let sentence = match dice.count(0, 6) {
        0 => {
            spikes.push(spike(dice, "platform", EventKind::FlashSale, start));
            let near = spike(dice, "payments", EventKind::Surge, start - 300.0);
            spikes.push(of_size(near, 1.4));
            "Flash load on P3 while P0 is near its SLO."
        }
        1 => {
            spikes.push(spike(dice, "payments", EventKind::FlashSale, start));
            spikes.push(spike(dice, "merchant", EventKind::FlashSale, start + 120.0));
            "Payments and, with them, fraud spike: two P0 domains and one P1 at once."
        }
        2 => {
            let (delay_seconds, error_ratio) = (dice.between(0.1, 0.6), dice.between(0.0, 0.5));
            let reach = reach("fraud");
            fault(start, 1200.0, FaultKind::Dependency { reach, delay_seconds, error_ratio });
            "Something that fraud depends on is slow and fails."
        }
        3 => {
            for app in &mut document.apps {
                app.value.retries = 3;
            }
            spikes.push(spike(dice, "payments", EventKind::FlashSale, start));
            let share = dice.between(0.4, 0.8);
            fault(start + 120.0, 0.0, FaultKind::Crash { reach: reach("payments"), share });
            "A spike, a crash in the middle of it, and callers who try three times more."
        }
        4 => {
            let late = spike(dice, "data", EventKind::Batch, start);
            let mut late = of_size(late, dice.between(3.0, 5.0));
            late.hold_seconds = 2400.0;
            spikes.push(late);
            spikes.push(spike(dice, "payments", EventKind::Surge, start + 600.0));
            "A settlement batch against the peak of checkout."
        }
        5 => {
            let share = dice.between(0.2, 0.4);
            let pool = "general".to_owned();
            fault(start, 0.0, FaultKind::NodeLoss { pool, share, zone: None });
            "A part of the pool vanishes."
        }
        _ => {
            spikes.push(spike(dice, "payments", EventKind::Surge, start));
            fault(start - 120.0, dice.between(300.0, 1200.0), FaultKind::PrometheusOutage);
            "Prometheus is away while payments grow."
        }
    };
    (sentence.to_owned(), 0.95)
}

/// Gives the pool the nodes that the start needs, and a quota by the highest demand.
fn furnish(scenario: &mut Scenario, slack: f64) {
    let mut traffic = Traffic::new(scenario, Seed::root(0));
    let mut rps = vec![0.0; scenario.apps.len()];
    let (mut first, mut most) = (0.0, 0.0_f64);
    for minute in 0..(scenario.duration_seconds / 60.0) as u32 {
        traffic.expected(f64::from(minute) * 60.0, &mut rps);
        let (mut cpu, mut memory) = (0.0, 0.0);
        for (app, rps) in scenario.apps.iter().zip(&rps) {
            let bounds = (f64::from(app.hpa.min_replicas), f64::from(app.hpa.max_replicas));
            let pods = app.replicas_for(*rps).clamp(bounds.0, bounds.1);
            cpu += pods * app.cpu_request;
            memory += pods * app.memory.request_mib / 1024.0;
        }
        let pool = &scenario.pools[0];
        // A tenth of every node stays empty, as pods do not fill it to the brim.
        let nodes = (cpu / pool.node_cpu).max(memory / pool.node_memory_gib) / 0.9;
        if minute == 0 {
            first = nodes;
        }
        most = most.max(nodes);
    }
    let pool = &mut scenario.pools[0];
    pool.nodes = first.ceil() as u32 + 1;
    pool.max_nodes = ((most * slack).ceil() as u32).max(pool.nodes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_of_every_family_is_sound() {
        for level in LEVELS {
            for number in 0..40 {
                let member = generate(level, Seed::root(number));
                let member = member.unwrap_or_else(|error| panic!("{level} {number}: {error}"));
                assert_eq!(member.level, level);
                assert!(member.apps.len() >= 8);
                for event in &member.events {
                    assert!(event.start_seconds >= WARM_UP - 1.0, "{level} {number}: {event:?}");
                    assert!(event.start_seconds < DURATION - 600.0, "{level} {number}: {event:?}");
                }
            }
        }
        assert!(generate(0, Seed::root(1)).is_err());
        assert!(generate(9, Seed::root(1)).is_err());
    }

    #[test]
    fn a_seed_is_a_member() {
        for level in LEVELS {
            let member = generate(level, Seed::root(3)).unwrap();
            assert_eq!(member, generate(level, Seed::root(3)).unwrap());
            assert_ne!(member, generate(level, Seed::root(4)).unwrap());
        }
    }

    #[test]
    fn levels_differ_as_they_say() {
        let members = |level| (0..30).map(move |seed| generate(level, Seed::root(seed)).unwrap());
        assert!(members(1).all(|member| member.domains.len() == 1 && member.events.is_empty()));
        assert!(members(2).all(|member| member.domains.len() == 1 && !member.events.is_empty()));
        assert!(members(3).all(|member| {
            member.events.iter().all(|event| event.start_seconds == member.events[0].start_seconds)
        }));
        assert!(members(5).all(|member| (4..=8).contains(&member.domains.len())));
        assert!(members(7).all(|member| member.events.len() >= 3));
        let attacks: std::collections::BTreeSet<String> =
            (0..60).map(|seed| generate(8, Seed::root(seed)).unwrap().description).collect();
        assert_eq!(attacks.len(), 7, "{attacks:?}");
    }
}
