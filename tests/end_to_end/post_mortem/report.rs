//! What happened under each arm, side by side.

use std::fmt;

use anyhow::Result;
use hirl_scale::cluster::Class;
use hirl_scale::simulation::scenario::Scenario;

use crate::scenarios::{COMPRESSION, Row};
use crate::testbed::twin::Twin;

/// Rows of the table of the course.
const SHOWN: usize = 25;

/// What must be known to read the figures.
const NOTES: &str = "\
What these figures are, and what they are not:

- **A few runs of each**, one after the other, on a machine with other work: mean, least and most, no interval. The
  simulator has those. The course below is the first run's.
- **Breach** is counted as in the simulator: an app is in breach in a step when its p99 or its errors are beyond the SLO of
  its domain, or when nobody serves its traffic. The load twin works out both from the pods that are ready.
- **No forecasts.** They are of minutes of the clock, of which the whole scenario has three; the sale is not announced
  either. So the Commander is not heeded, and the rule beneath is the one of the weights without its lead.
- **Warm capacity**: the component `balloon` as it ships, under both arms of hirl. Its pods wait for nodes like others.
- **Callers do not wait** for the called in the load twin: the cascade of the incident is not here, the shared pool is.
- Nodes are added by the simulator's own provisioner, which sees pods that wait and knows neither classes nor budgets;
  for four minutes of the sale it launches nothing, then slowly.
";

/// One arm, step by step.
#[derive(Debug, Default)]
pub(super) struct Course {
    rows: Vec<Step>,
    /// Questions of the scheduler that we answered, and pods that we refused for want of budget.
    pub(super) verdicts: f64,
    pub(super) refusals: f64,
}

#[derive(Debug)]
struct Step {
    row: Row,
    /// Per app: whether it broke its SLO, and pods that wait for a node.
    breach: Vec<bool>,
    waiting: Vec<u32>,
}

impl Course {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let steps = (scenario.duration_seconds / scenario.step_seconds).ceil() as usize;
        Self { rows: Vec::with_capacity(steps), ..Self::default() }
    }

    /// Takes in the end of a step.
    pub(super) fn add(&mut self, scenario: &Scenario, row: &Row, twin: &Twin) -> Result<()> {
        let waiting = twin.waiting();
        let mut step = Step { row: row.clone(), breach: Vec::new(), waiting: Vec::new() };
        for app in &scenario.apps {
            let sample = twin.sample(&app.namespace, &app.name)?;
            let domain = scenario.domains.iter().find(|domain| domain.name == app.domain);
            let slo = domain.map(|domain| (domain.slo_p99_seconds, domain.slo_error_ratio));
            let (p99, errors) = slo.unwrap_or((f64::INFINITY, 1.0));
            let is_asked = sample.offered.is_some_and(|offered| offered > 0.0);
            let is_served = sample.ready > 0 && sample.p99 <= p99 && sample.error_ratio <= errors;
            step.breach.push(is_asked && !is_served);
            let key = (app.namespace.clone(), app.name.clone());
            step.waiting.push(waiting.get(&key).copied().unwrap_or_default());
        }
        self.rows.push(step);
        Ok(())
    }

    /// App-minutes in breach of the apps that `weight` gives a weight.
    fn breach(&self, scenario: &Scenario, weight: impl Fn(usize) -> f64) -> f64 {
        let in_breach = self.rows.iter().flat_map(|step| step.breach.iter().enumerate());
        let sum: f64 = in_breach.filter(|(_, breach)| **breach).map(|(app, _)| weight(app)).sum();
        sum * scenario.step_seconds / 60.0
    }

    /// App-minutes in breach, each by the weight of its domain.
    pub(super) fn weighted_breach(&self, scenario: &Scenario) -> f64 {
        let domain_of = scenario.domain_of();
        self.breach(scenario, |app| scenario.domains[domain_of[app]].weight)
    }

    /// Minutes in which pods of these apps waited for a node, summed over the pods.
    fn waited(&self, scenario: &Scenario, counts: impl Fn(usize) -> bool) -> f64 {
        let all = self.rows.iter().flat_map(|step| step.waiting.iter().enumerate());
        let own = all.filter(|(app, _)| counts(*app)).map(|(_, pods)| f64::from(*pods));
        own.sum::<f64>() * scenario.step_seconds / 60.0
    }

    fn cores(step: &Step, scenario: &Scenario) -> f64 {
        let ready = step.row.ready.iter().zip(&scenario.apps);
        ready.map(|(pods, app)| f64::from(*pods) * app.cpu_request).sum()
    }

    /// Core-hours that ready pods request.
    fn requested(&self, scenario: &Scenario) -> f64 {
        let cores: f64 = self.rows.iter().map(|step| Self::cores(step, scenario)).sum();
        cores * scenario.step_seconds / 3600.0
    }

    /// Core-hours of ready nodes.
    fn paid(&self, scenario: &Scenario) -> f64 {
        let per_node = scenario.pools.first().map_or(0.0, |pool| pool.node_cpu);
        let nodes: f64 = self.rows.iter().map(|step| f64::from(step.row.nodes)).sum();
        nodes * per_node * scenario.step_seconds / 3600.0
    }
}

/// All of them, as Markdown.
pub(super) struct Report<'a> {
    scenario: &'a Scenario,
    /// The runs of each arm.
    courses: &'a [(&'static str, Vec<Course>)],
}

/// The mean of a figure over the runs of an arm.
pub(super) fn mean(courses: &[Course], of: impl Fn(&Course) -> f64) -> f64 {
    courses.iter().map(of).sum::<f64>() / courses.len() as f64
}

impl<'a> Report<'a> {
    pub(super) const fn new(
        scenario: &'a Scenario,
        courses: &'a [(&'static str, Vec<Course>)],
    ) -> Self {
        Self { scenario, courses }
    }

    fn line(
        &self,
        out: &mut fmt::Formatter<'_>,
        name: &str,
        of: impl Fn(&Course) -> f64,
    ) -> fmt::Result {
        write!(out, "| {name} |")?;
        for (_, courses) in self.courses {
            write!(out, " {:.1}", mean(courses, &of))?;
            if courses.len() > 1 {
                let all = || courses.iter().map(&of);
                let (least, most) =
                    (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
                write!(out, " [{least:.1}, {most:.1}]")?;
            }
            write!(out, " |")?;
        }
        writeln!(out)
    }

    fn head(&self, out: &mut fmt::Formatter<'_>, first: &str) -> fmt::Result {
        let names: Vec<&str> = self.courses.iter().map(|(name, _)| *name).collect();
        writeln!(out, "| {first} | {} |", names.join(" | "))?;
        writeln!(out, "|---|{}", "---|".repeat(names.len()))
    }

    fn totals(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenario = self.scenario;
        self.head(out, "")?;
        self.line(out, "app-minutes in breach, weighted", |it| it.weighted_breach(scenario))?;
        for domain in &scenario.domains {
            let own = |app: usize| f64::from(u8::from(scenario.apps[app].domain == domain.name));
            let name = format!("of {}, {}", domain.name, domain.class.as_str());
            self.line(out, &name, |it| it.breach(scenario, own))?;
        }
        let domain_of = scenario.domain_of();
        for class in Class::ALL {
            let own = |app: usize| scenario.domains[domain_of[app]].class == class;
            let name = format!("pod-minutes of waiting for a node, {}", class.as_str());
            self.line(out, &name, |it| it.waited(scenario, own))?;
        }
        self.line(out, "core-hours requested by ready pods", |it| it.requested(scenario))?;
        self.line(out, "core-hours of nodes", |it| it.paid(scenario))?;
        let nodes = |it: &Course| it.rows.iter().map(|step| step.row.nodes).max().unwrap_or(0);
        self.line(out, "the most nodes", |it| f64::from(nodes(it)))?;
        self.line(out, "questions of the scheduler answered", |it| it.verdicts)?;
        self.line(out, "of which refused for want of budget", |it| it.refusals)
    }

    /// Pods asked for / ready / in breach, of every arm.
    fn course(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first: Vec<&Course> =
            self.courses.iter().filter_map(|(_, courses)| courses.first()).collect();
        let steps = first.iter().map(|course| course.rows.len()).min().unwrap_or(0);
        let sum = |counts: &[u32]| counts.iter().sum::<u32>();
        self.head(out, "second")?;
        for index in (0..steps).step_by(steps.div_ceil(SHOWN).max(1)) {
            write!(out, "| {} |", (index + 1) as f64 * self.scenario.step_seconds)?;
            for course in &first {
                let step = &course.rows[index];
                let breach = step.breach.iter().filter(|breach| **breach).count();
                let (asked, ready) = (sum(&step.row.spec), sum(&step.row.ready));
                write!(out, " {asked} / {ready} / {} / {breach} |", step.row.nodes)?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "# The flash sale of the post-mortem on the real control plane\n")?;
        writeln!(
            out,
            "`tests/data/post-mortem.yaml`, {} apps, {COMPRESSION} times faster than life; etcd, kube-apiserver, the HPA \
             controller of kube-controller-manager, kube-scheduler and KWOK. \
             `HIRL_SCALE=1 HIRL_RECORD=1 HIRL_RUNS={} cargo test --test end_to_end -- --test-threads=1 post_mortem` made \
             this.\n",
            self.scenario.apps.len(),
            self.courses.first().map_or(0, |(_, courses)| courses.len()),
        )?;
        self.totals(out)?;
        writeln!(out, "\n{NOTES}")?;
        writeln!(out, "## Course: replicas asked for / pods ready / nodes / apps in breach\n")?;
        self.course(out)
    }
}
