//! Where the two sides agree, and where they do not.

use std::fmt::Write as _;

use hirl_scale::simulation::scenario::Scenario;

use super::Row;

/// Relative difference that counts as none.
const CLOSE: f64 = 0.05;
/// Rows of the table of the course, and apps that are shown singly.
const SHOWN: (usize, usize) = (24, 8);

/// Why the two sides cannot agree wholly. Only the last was measured; the others are reasons.
const WHY: &str = "\
What the two sides cannot share:

- **The dead band.** A stock HPA is content with any count within 10 % of its target. At which of
  these it stops depends on the moment of its syncs, and there it stays until the load changes:
  12 on one side and 13 on the other are both right, and more than 5 % apart.
- **Latency, 15 times as long.** What the real scheduler, controllers and KWOK need to place and
  start a pod passes 15 times as fast in the scenario: 0.6 s is 9 s, half a step. The simulator
  places 100 pods a second and has no other latency.
- **A full pool.** Who of those that wait gets the room that opens is a matter of order. Every pod
  that waits holds back the HPA of its app, so that the same total is divided otherwise.
- **Sync phases.** Each HPA has its own moment in the period on both sides, and they are not the
  same. The real period is a little longer, because it begins when the last sync has ended.
- **A pod without a sample.** Real pods run for a while before metrics-server knows them, and on the
  way down the HPA takes such a pod for wholly busy: one sync that meets it makes it stand still
  for a stabilisation window. The simulator has no such pods. Here the twin gives a sample to
  every pod that runs; when it did not, for up to a step, the real apps kept up to a fifth more
  pods for five minutes after the sale.
";

/// Both sides, step by step.
pub(super) struct Comparison<'a> {
    scenario: &'a Scenario,
    simulated: &'a [Row],
    real: &'a [Row],
}

impl<'a> Comparison<'a> {
    pub(super) fn new(scenario: &'a Scenario, simulated: &'a [Row], real: &'a [Row]) -> Self {
        Self { scenario, simulated, real }
    }

    fn steps(&self) -> usize {
        self.simulated.len().min(self.real.len())
    }

    /// Whether the real replicas of an app at a step are within 5 % of what the simulator had at
    /// that step, the one before or the one after.
    fn agrees(&self, app: usize, step: usize) -> bool {
        let around = self.simulated.iter().skip(step.saturating_sub(1)).take(3);
        let (low, high) = around
            .map(|row| f64::from(row.spec[app]))
            .fold((f64::INFINITY, 0.0_f64), |(low, high), count| (low.min(count), high.max(count)));
        let real = f64::from(self.real[step].spec[app]);
        (low * (1.0 - CLOSE)..=high * (1.0 + CLOSE)).contains(&real)
    }

    fn agreement_of(&self, app: usize) -> f64 {
        let agreeing = (0..self.steps()).filter(|step| self.agrees(app, *step)).count();
        agreeing as f64 / self.steps() as f64
    }

    /// Share of all apps and steps in which the replicas agree, 0 to 1.
    pub(super) fn agreement(&self) -> f64 {
        let apps = self.scenario.apps.len();
        (0..apps).map(|app| self.agreement_of(app)).sum::<f64>() / apps as f64
    }

    /// The same over the steps in which pods waited for a node in the simulator, or did not.
    fn agreement_while(&self, waiting: bool) -> f64 {
        let steps: Vec<usize> = (0..self.steps())
            .filter(|step| (self.simulated[*step].waiting > 0) == waiting)
            .collect();
        let apps = self.scenario.apps.len();
        let agreeing =
            steps.iter().flat_map(|step| (0..apps).filter(|app| self.agrees(*app, *step))).count();
        agreeing as f64 / (steps.len() * apps).max(1) as f64
    }

    /// Mean difference of the replicas of an app, as a share of its replicas.
    fn distance(&self) -> f64 {
        let pairs = self.simulated.iter().zip(self.real);
        let counts = pairs.flat_map(|(one, other)| one.spec.iter().zip(&other.spec));
        let (apart, all) = counts.fold((0.0, 0.0), |(apart, all), (one, other)| {
            (apart + f64::from(one.abs_diff(*other)), all + f64::from(*one))
        });
        apart / all
    }

    /// As Markdown.
    pub(super) fn report(&self) -> String {
        let mut text = String::new();
        // Infallible: the text grows in memory.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let step = self.scenario.step_seconds;
        writeln!(out, "# Simulator and real controllers, side by side\n")?;
        writeln!(
            out,
            "`tests/data/fidelity.yaml`, {} apps, {} steps of {step} s. \
             `HIRL_SCALE=1 HIRL_RECORD=1 cargo test --test end_to_end fidelity` made this.\n",
            self.scenario.apps.len(),
            self.steps() - 1,
        )?;
        writeln!(out, "| | simulated | real |\n|---|---|---|")?;
        let sides = [self.simulated, self.real];
        let mut line = |name: &str, of: &dyn Fn(&[Row]) -> f64| {
            let [simulated, real] = sides.map(of);
            writeln!(out, "| {name} | {simulated:.0} | {real:.0} |")
        };
        line("replicas asked for, mean", &|rows| mean(rows, |row| sum(&row.spec)))?;
        line("the most replicas asked for", &|rows| most(rows, |row| sum(&row.spec)))?;
        line("ready pods, mean", &|rows| mean(rows, |row| sum(&row.ready)))?;
        line("pod-seconds of waiting for a node", &|rows| {
            mean(rows, |row| row.waiting.into()) * rows.len() as f64 * step
        })?;
        line("steps in which pods waited", &|rows| {
            rows.iter().filter(|row| row.waiting > 0).count() as f64
        })?;
        line("the most nodes", &|rows| most(rows, |row| row.nodes.into()))?;
        writeln!(
            out,
            "\nIn {:.1} % of all apps and steps the real replicas are within 5 % of the simulated \
             ones of that step or a neighbour: in {:.1} % while pods wait for a node, in {:.1} % \
             otherwise. At one and the same step they are {:.1} % apart on average. Summed over \
             the apps, the real replicas are {} steps behind the simulated ones, and the ready \
             pods {}.\n",
            100.0 * self.agreement(),
            100.0 * self.agreement_while(true),
            100.0 * self.agreement_while(false),
            100.0 * self.distance(),
            self.behind(|row| sum(&row.spec)),
            self.behind(|row| sum(&row.ready)),
        )?;
        writeln!(out, "{WHY}")?;
        self.write_course(out)?;
        self.write_apps(out)
    }

    /// By how many steps the real side is behind: where a count over all apps differs least.
    fn behind(&self, of: impl Fn(&Row) -> f64) -> i32 {
        let difference = |shift: i32| -> f64 {
            let pairs = (0..self.steps()).filter_map(|step| {
                let other = self.real.get(step.checked_add_signed(shift as isize)?)?;
                Some((of(&self.simulated[step]) - of(other)).abs())
            });
            let all: Vec<f64> = pairs.collect();
            all.iter().sum::<f64>() / all.len().max(1) as f64
        };
        (-4..=4).min_by(|one, other| difference(*one).total_cmp(&difference(*other))).unwrap_or(0)
    }

    fn write_course(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Course (simulated / real)\n")?;
        writeln!(out, "| second | replicas | ready | waiting | nodes | apps that agree |")?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        let apps = self.scenario.apps.len();
        for step in (0..self.steps()).step_by(self.steps().div_ceil(SHOWN.0)) {
            let (simulated, real) = (&self.simulated[step], &self.real[step]);
            let agreeing = (0..apps).filter(|app| self.agrees(*app, step)).count();
            writeln!(
                out,
                "| {} | {} / {} | {} / {} | {} / {} | {} / {} | {agreeing} of {apps} |",
                step as f64 * self.scenario.step_seconds,
                sum(&simulated.spec),
                sum(&real.spec),
                sum(&simulated.ready),
                sum(&real.ready),
                simulated.waiting,
                real.waiting,
                simulated.nodes,
                real.nodes,
            )?;
        }
        Ok(())
    }

    fn write_apps(&self, out: &mut String) -> std::fmt::Result {
        let mut apps: Vec<(f64, usize)> =
            (0..self.scenario.apps.len()).map(|app| (self.agreement_of(app), app)).collect();
        apps.sort_by(|one, other| one.0.total_cmp(&other.0));
        writeln!(out, "\n## Where they differ most\n")?;
        writeln!(out, "| app | agrees | longest difference: from second, simulated, real |")?;
        writeln!(out, "|---|---|---|")?;
        for (agreement, app) in apps.into_iter().take(SHOWN.1) {
            let (from, until) = self.longest_difference(app);
            let series = |rows: &[Row]| {
                let counts = rows[from..until].iter().map(|row| row.spec[app].to_string());
                counts.take(12).collect::<Vec<_>>().join(" ")
            };
            writeln!(
                out,
                "| {}/{} | {:.0} % | {}: {} — {} |",
                self.scenario.apps[app].namespace,
                self.scenario.apps[app].name,
                100.0 * agreement,
                from as f64 * self.scenario.step_seconds,
                series(self.simulated),
                series(self.real),
            )?;
        }
        Ok(())
    }

    /// The steps of the longest run in which an app does not agree.
    fn longest_difference(&self, app: usize) -> (usize, usize) {
        let (mut best, mut begin) = ((0, 0), 0);
        for step in 0..=self.steps() {
            if step == self.steps() || self.agrees(app, step) {
                if step - begin > best.1 - best.0 {
                    best = (begin, step);
                }
                begin = step + 1;
            }
        }
        best
    }
}

fn sum(counts: &[u32]) -> f64 {
    counts.iter().copied().map(f64::from).sum()
}

fn mean(rows: &[Row], of: impl Fn(&Row) -> f64) -> f64 {
    rows.iter().map(of).sum::<f64>() / rows.len().max(1) as f64
}

fn most(rows: &[Row], of: impl Fn(&Row) -> f64) -> f64 {
    rows.iter().map(of).fold(0.0, f64::max)
}
