//! Both clusters as text: the table of domains, and the same as plain lines.

use std::fmt::Write as _;

use super::world::Pair;
use crate::cluster::{Class, Timestamp};
use crate::simulation::{DomainRow, PoolRow, Row, Summary, Timeline};

/// One cluster at the end of a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// Its newest row.
    pub(super) row: Row,
    /// Its sums so far.
    pub(super) summary: Summary,
}

/// Both clusters at the end of a step.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// The time there.
    pub(super) now: Timestamp,
    /// Names and classes of the domains.
    pub(super) domains: Vec<(String, Class)>,
    /// Under the policy.
    pub(super) ours: Side,
    /// Under plain HPAs.
    pub(super) plain: Side,
}

impl Moment {
    /// Now.
    pub(super) fn of(pair: &Pair) -> Self {
        let side = |timeline: &Timeline, summary| Side {
            row: timeline.rows.last().cloned().unwrap_or_default(),
            summary,
        };
        let (ours, plain) = (pair.ours.timeline(), pair.plain.timeline());
        Self {
            now: pair.ours.now(),
            domains: ours.domains.iter().cloned().zip(ours.classes.iter().copied()).collect(),
            ours: side(ours, pair.ours.summary()),
            plain: side(plain, pair.plain.summary()),
        }
    }

    /// Each domain: its name, its class, and its rows under the policy and under plain HPAs.
    fn rows(&self) -> impl Iterator<Item = (&str, Class, &DomainRow, &DomainRow)> {
        let rows = self.ours.row.domains.iter().zip(&self.plain.row.domains);
        self.domains
            .iter()
            .zip(rows)
            .map(|((name, class), (ours, plain))| (name.as_str(), *class, ours, plain))
    }

    /// The table.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "\n{}  (two numbers: ours / plain HPAs)\n\n{:<10} {:>2} {:>8} {:>8} {:>11} {:>9} {:>9} \
             {:>13} {:>11} {:>9}\n",
            self.now,
            "domain",
            "",
            "budget",
            "used",
            "p99/SLO",
            "rps",
            "in 15 min",
            "replicas",
            "pending",
            "breaching"
        );
        for (name, class, ours, plain) in self.rows() {
            let _ = writeln!(
                text,
                "{name:<10} {class:>2} {:>8} {:>8.0} {:>11} {:>9.0} {:>9} {:>13} {:>11} {:>9}",
                whole(ours.budget_cores),
                ours.requested_cores,
                format!("{:.2} / {:.2}", ours.p99_ratio, plain.p99_ratio),
                ours.rps,
                // The 80th percentile: what the policy plans for.
                whole(ours.forecast.map(|[_, _, p80, _]| p80)),
                pair(ours.asked, plain.asked),
                pair(ours.pending, plain.pending),
                pair(ours.breach_apps, plain.breach_apps),
            );
        }
        text.push('\n');
        text.push_str(&self.totals());
        text
    }

    /// One line per domain, and one for the whole.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        for (name, class, ours, plain) in self.rows() {
            let _ = writeln!(
                text,
                "{} {name} {class} budget={} used={:.0} p99/SLO={:.2}/{:.2} rps={:.0} in_15_min={} \
                 replicas={:.0}/{:.0} pending={:.0}/{:.0} breaching={:.0}/{:.0}",
                self.now,
                whole(ours.budget_cores),
                ours.requested_cores,
                ours.p99_ratio,
                plain.p99_ratio,
                ours.rps,
                whole(ours.forecast.map(|[_, _, p80, _]| p80)),
                ours.asked,
                plain.asked,
                ours.pending,
                plain.pending,
                ours.breach_apps,
                plain.breach_apps,
            );
        }
        let _ = writeln!(text, "{} {}", self.now, self.totals().trim_end().replace('\n', "; "));
        text
    }

    /// Nodes now, and the sums so far.
    fn totals(&self) -> String {
        let nodes =
            |side: &Side| side.row.pools.iter().map(|pool: &PoolRow| pool.paid).sum::<f64>();
        let breaches = |side: &Side| side.summary.counts.breach_minutes.iter().sum::<f64>();
        let hours = |side: &Side| side.summary.counts.paid_core_hours;
        let cascades = |side: &Side| side.summary.counts.cascades.iter().sum::<u64>();
        let inversions = |side: &Side| side.summary.counts.inversions.iter().sum::<u64>();
        let (ours, plain) = (&self.ours, &self.plain);
        format!(
            "nodes {}, app-minutes in breach {}, node core-hours {}\nstampedes {} / {}, cascades {} / {}, inversions {} / {}\n",
            pair(nodes(ours), nodes(plain)),
            pair(breaches(ours), breaches(plain)),
            pair(hours(ours), hours(plain)),
            ours.summary.stampedes,
            plain.summary.stampedes,
            cascades(ours),
            cascades(plain),
            inversions(ours),
            inversions(plain),
        )
    }
}

fn pair(ours: f64, plain: f64) -> String {
    format!("{ours:.0} / {plain:.0}")
}

fn whole(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or("-".to_owned(), |value| format!("{value:.0}"))
}
