//! Whether a learner is paid for what is wanted: what it is paid in runs without trying, beside what users suffer and
//! what is paid for, for the [gap detector](crate::reward::gap).
//!
//! Runs of several members stand one after the other. Members differ in size, so that levels would all follow one
//! another; what is compared is the difference from the rule in the same minute of the same member, which is also
//! what the learner is paid.

use super::members::Member;
use super::pay::{Paymaster, TERMS, Totals};
use super::settings::Settings;
use crate::reward::gap::{Course, Flag, Report, Series, Settings as GapSettings, inspect};
use crate::simulation::Row;
use crate::simulation::arms::Arm;

/// Time between two values, in seconds.
const MINUTE: f64 = 60.0;

/// One run: what was paid for in each counted minute, and what it brought.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What became of it.
    pub totals: Totals,
    minutes: Vec<Minute>,
}

#[derive(Debug, Clone, Copy)]
struct Minute {
    /// By term, over all apps.
    paid: [f64; TERMS.len()],
    core_hours: f64,
    harms: [f64; HARMS.len()],
    paid_core_hours: f64,
    metrics: [f64; METRICS.len()],
}

/// True outcomes that users suffer. Breaches have the weights of their domains, as in evaluations: what is traded
/// between classes by these weights is no gap.
const HARMS: [&str; 3] = ["weighted breach minutes", "cascades", "inversions"];

/// What a policy can move or see, and nobody asked for; over all domains and pools.
const METRICS: [&str; 12] = [
    "requests per second",
    "budget cores",
    "requested cores",
    "ready pods",
    "starting pods",
    "pending pods",
    "asked replicas",
    "reversed replicas",
    "nodes asked",
    "nodes removed",
    "preempted pods",
    "reserve share",
];

/// What becomes of a member under an arm as it is, minute by minute. `Err` is one sentence.
pub fn watch(member: &Member, arm: &Arm, settings: &Settings) -> Result<Watched, String> {
    let simulation = arm.simulation(&member.scenario, member.seed, Some(&member.foresight))?;
    let mut simulation = simulation.with_timeline(MINUTE);
    let mut pilot = arm.pilot(&simulation, &member.scenario, member.seed);
    let mut paymaster = Paymaster::new(&member.scenario, settings.pay);
    let mut paid: Vec<([f64; TERMS.len()], f64)> = Vec::new();
    while !simulation.over() {
        let row = simulation.timeline().rows.len();
        simulation.turn(pilot.as_mut());
        let apps = paymaster.pay(&simulation);
        let core_hours: f64 = apps.iter().map(|paid| f64::from(paid.core_hours)).sum();
        paid.resize(row + 1, ([0.0; TERMS.len()], 0.0));
        for (sum, term) in paid[row].0.iter_mut().zip(paymaster.terms()) {
            *sum += term;
        }
        paid[row].1 += core_hours;
    }
    let timeline = simulation.timeline();
    let rows = timeline.rows.iter().zip(paid).filter(|(row, _)| row.counted);
    let minutes = rows.map(|(row, (paid, core_hours))| Minute {
        paid,
        core_hours,
        harms: [
            row.domains.iter().zip(&timeline.weights).map(|(row, it)| row.breach_apps * it).sum(),
            f64::from(row.cascades),
            f64::from(row.inversions),
        ],
        paid_core_hours: row
            .pools
            .iter()
            .zip(&timeline.node_cores)
            .map(|(row, it)| row.paid * it)
            .sum::<f64>()
            * MINUTE
            / 3600.0,
        metrics: metrics(row),
    });
    let minutes = minutes.collect();
    Ok(Watched { totals: Totals::of(&simulation, &member.scenario), minutes })
}

fn metrics(row: &Row) -> [f64; METRICS.len()] {
    let domains = |of: fn(&crate::simulation::DomainRow) -> f64| row.domains.iter().map(of).sum();
    let pools = |of: fn(&crate::simulation::PoolRow) -> f64| row.pools.iter().map(of).sum();
    [
        domains(|row| row.rps),
        domains(|row| row.budget_cores.unwrap_or(0.0)),
        domains(|row| row.requested_cores),
        domains(|row| row.ready),
        domains(|row| row.starting),
        domains(|row| row.pending),
        domains(|row| row.asked),
        domains(|row| row.reversed),
        pools(|row| row.asked),
        pools(|row| row.removed),
        pools(|row| row.preempted),
        row.reserve_share,
    ]
}

/// Looks for gaps in what a learner was paid beyond the rule, in the same members in the same order. `price` is what a
/// core-hour costs. `Err` is one sentence.
pub fn gaps(
    own: &[Watched],
    rule: &[Watched],
    price: f64,
    settings: &GapSettings,
) -> Result<Report, String> {
    let (own, rule) = (course(own, price, settings), course(rule, price, settings));
    let mut report = inspect(&difference(&own, &rule), None, settings)?;
    let against = inspect(&own, Some(&rule), settings)?;
    let paid = against.flags.into_iter().filter(|flag| matches!(flag, Flag::PaidForNothing { .. }));
    report.flags.extend(paid);
    Ok(report)
}

/// All runs, one after the other; so far apart that no lag reaches from one into the next.
fn course(runs: &[Watched], price: f64, settings: &GapSettings) -> Course {
    let apart = (settings.lag_seconds / MINUTE).ceil() as usize;
    let series = |name: &str, of: &dyn Fn(&Minute) -> f64| {
        let mut values = Vec::new();
        for run in runs {
            values.extend(run.minutes.iter().map(of));
            values.resize(values.len() + apart, f64::NAN);
        }
        Series::new(name, values)
    };
    let named = |names: &[&str], of: &dyn Fn(&Minute, usize) -> f64| -> Vec<Series> {
        let each = names.iter().enumerate();
        each.map(|(place, name)| series(name, &|minute| of(minute, place))).collect()
    };
    let mut terms = named(&TERMS, &|minute, place| minute.paid[place]);
    terms.push(series("cost", &|minute| -price * minute.core_hours));
    Course {
        seconds: MINUTE,
        terms,
        metrics: named(&METRICS, &|minute, place| minute.metrics[place]),
        harms: named(&HARMS, &|minute, place| minute.harms[place]),
        costs: vec![series("paid core-hours", &|minute| minute.paid_core_hours)],
    }
}

fn difference(own: &Course, rule: &Course) -> Course {
    let less = |own: &[Series], rule: &[Series]| {
        let pairs = own.iter().zip(rule);
        let series = pairs.map(|(own, rule)| {
            let values = own.values.iter().zip(&rule.values).map(|(own, rule)| own - rule);
            Series::new(own.name.clone(), values.collect())
        });
        series.collect()
    };
    Course {
        seconds: own.seconds,
        terms: less(&own.terms, &rule.terms),
        metrics: less(&own.metrics, &rule.metrics),
        harms: less(&own.harms, &rule.harms),
        costs: less(&own.costs, &rule.costs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(of: impl Fn(usize) -> Minute) -> Watched {
        Watched { totals: Totals::default(), minutes: (0..600).map(of).collect() }
    }

    /// A minute with some noise in everything, so that nothing is constant.
    fn minute(at: usize) -> Minute {
        let noise = |place: usize| ((at * 7 + place * 13) as f64 * 0.731).sin().abs();
        Minute {
            paid: std::array::from_fn(|place| -noise(place)),
            core_hours: 10.0 + noise(6),
            harms: std::array::from_fn(noise),
            paid_core_hours: 12.0 + noise(7),
            metrics: std::array::from_fn(|place| 5.0 + noise(8 + place)),
        }
    }

    fn found(own: &Watched) -> Report {
        let rule = run(minute);
        gaps(&[own.clone(), own.clone()], &[rule.clone(), rule], 0.1, &GapSettings::default())
            .unwrap()
    }

    #[test]
    fn who_is_paid_for_fewer_breaches_has_no_gap() {
        let better = run(|at| {
            let mut own = minute(at);
            let less = 0.5 * own.harms[0] * (1.0 + (at as f64 * 0.37).sin());
            own.harms[0] -= less;
            own.paid[0] += less;
            own
        });
        assert_eq!(found(&better).flags, []);
    }

    #[test]
    fn who_is_paid_for_something_else_is_found() {
        let nothing = run(|at| {
            let mut own = minute(at);
            let farmed = 1.0 + (at as f64 * 0.37).sin();
            own.paid[2] += farmed;
            own.metrics[7] += farmed;
            own
        });
        let flags = found(&nothing).flags;
        assert!(flags.iter().any(|flag| matches!(flag, Flag::PaidForNothing { .. })), "{flags:?}");
        let tied = |flag: &Flag| matches!(flag, Flag::Tied { tie, .. } if tie.metric == METRICS[7]);
        assert!(flags.iter().any(tied), "{flags:?}");
    }
}
