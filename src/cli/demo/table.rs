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

    /// The table. Pods that wait for a node are pending; what a domain has of the shared pools
    /// beyond its target is borrowed.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "\n{}  (two numbers: ours / plain HPAs)\n\n{:<10} {:>2} {:>6} {:>6} {:>8} {:>11} {:>7} {:>7} \
             {:>13} {:>11} {:>9}\n",
            self.now,
            "domain",
            "",
            "target",
            "used",
            "borrowed",
            "p99/SLO",
            "rps",
            "+15 min",
            "replicas",
            "pending",
            "breaching"
        );
        for (name, class, ours, plain) in self.rows() {
            let _ = writeln!(
                text,
                "{name:<10} {class:>2} {:>6} {:>6.0} {:>8} {:>11} {:>7.0} {:>7} {:>13} {:>11} {:>9}",
                whole(ours.budget_cores),
                ours.requested_cores,
                whole(borrowed(ours)),
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
                "{} {name} {class} target={} used={:.0} borrowed={} p99/SLO={:.2}/{:.2} rps={:.0} in_15_min={} \
                 replicas={:.0}/{:.0} pending={:.0}/{:.0} breaching={:.0}/{:.0}",
                self.now,
                whole(ours.budget_cores),
                ours.requested_cores,
                whole(borrowed(ours)),
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

    /// Node core-hours against plain HPAs, and the parts of the difference, in one line. Idle is
    /// beyond warm capacity; the parts sum to the difference but for pods on their way out.
    pub(super) fn comparison(&self) -> String {
        let (ours, plain) = (&self.ours.summary, &self.plain.summary);
        let (paid, before) = (ours.counts.paid_core_hours, plain.counts.paid_core_hours);
        if before <= 0.0 {
            return "node core-hours: none counted, the scenario still warms up".to_owned();
        }
        let mut requested = Vec::new();
        for class in Class::ALL {
            let hours = |side: &Summary| side.counts.requested_core_hours[class as usize];
            if hours(ours) + hours(plain) > 0.0 {
                requested.push(format!("{class} {}", signed(hours(ours) - hours(plain))));
            }
        }
        let idle = |side: &Summary| side.idle_core_hours - side.warm_core_hours;
        format!(
            "node core-hours {paid:.0}, {} ({} %) against {before:.0} under plain HPAs: warm capacity {}, replicas asked for {}, idle {}",
            signed(paid - before),
            signed(100.0 * (paid - before) / before),
            signed(ours.warm_core_hours - plain.warm_core_hours),
            requested.join(" "),
            signed(idle(ours) - idle(plain)),
        )
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

/// What a domain has of the shared pools beyond its target, in cores.
fn borrowed(row: &DomainRow) -> Option<f64> {
    row.budget_cores.map(|target| (row.shared_cores - target).max(0.0))
}

/// A whole number with its sign; nothing is +0.
fn signed(value: f64) -> String {
    format!("{:+.0}", value.round() + 0.0)
}

fn pair(ours: f64, plain: f64) -> String {
    format!("{ours:.0} / {plain:.0}")
}

fn whole(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or("-".to_owned(), |value| format!("{value:.0}"))
}
