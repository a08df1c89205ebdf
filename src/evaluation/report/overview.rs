//! What a reader must know first.

use std::fmt::Write as _;

use super::chart::{Point, front as front_chart, intervals};
use super::html::{Cell, Tone, escaped, folded, number, paragraph, section, table};
use super::words::{between, cell, change, changes, measure, title, tone};
use crate::evaluation::MEASURES;
use crate::evaluation::comparison::{BREACHES, COST, Comparison, Figure, Slice};

/// The columns of the first table, and their short names.
const COLUMNS: [(&str, &str); 8] = [
    (BREACHES, "Breach, weighted (app-min)"),
    ("breachMinutesP0", "Breach, P0 (app-min)"),
    (COST, "Cost (core-h)"),
    ("nodeChurn", "Node churn"),
    ("stampedes", "Stampedes"),
    ("cascades", "Cascades"),
    ("inversions", "Inversions"),
    ("preemptions", "Preemptions"),
];

/// The result in sentences, a table and two drawings.
pub(super) fn summary(comparison: &Comparison) -> String {
    let (all, baseline) = (Slice::All, &comparison.baseline);
    let (scenarios, seeds) = (comparison.cases.len(), comparison.seeds.len());
    let mut body = paragraph(&format!(
        "Every policy ran through {} with {}. The same seed means the same traffic, node start \
         times and failures for every policy, so that runs are compared in pairs with {baseline}.",
        counted(scenarios, "scenario"),
        counted(seeds, "seed"),
    ));
    body.push_str("<ul>\n");
    for sentence in verdicts(comparison) {
        let (policy, rest) = sentence.split_once(':').unwrap_or((&sentence, ""));
        let _ = writeln!(body, "<li><b>{}</b>:{}</li>", escaped(policy), escaped(rest));
    }
    body.push_str("</ul>\n");
    let mut head = vec!["Policy".to_owned()];
    head.extend(COLUMNS.map(|(_, title)| title.to_owned()));
    head.push("Gap to the oracle closed".to_owned());
    let rows: Vec<Vec<Cell>> = comparison
        .policies
        .iter()
        .map(|policy| {
            let mut row = vec![Cell::plain(policy)];
            row.extend(COLUMNS.map(|(measure, _)| cell(comparison, &all, measure, policy)));
            let gap = comparison.gap(&all, policy);
            row.push(gap.map_or_else(
                || Cell::plain("–"),
                |gap| Cell {
                    text: format!("{}\u{a0}%", number((100.0 * gap.share).round())),
                    note: between(gap.interval, 100.0),
                    tone: Tone::Plain,
                },
            ));
            row
        })
        .collect();
    body.push_str(&table(&head, &rows));
    body.push_str(&paragraph(
        "Mean per run; below it the change against the first row with its 95 % interval. ▼ fewer \
         (better) and ▲ more (worse) stand only where the interval leaves out 0; no sign means that \
         no difference is shown. Of twenty signs, chance alone may set one.",
    ));
    if seeds < 5 {
        body.push_str(&paragraph(
            "Fewer than 5 seeds per scenario: the intervals are narrower than they should be.",
        ));
    }
    body.push_str("<div class=\"pair\">");
    for (measure, name) in [(BREACHES, "weighted breach minutes"), (COST, "cost")] {
        let label = format!("Change in {name} against {baseline}, %");
        let rows = changes(comparison, &all, measure);
        let _ = write!(body, "<figure>{}</figure>", intervals(&label, &label, &rows));
    }
    body.push_str("</div>\n");
    section("summary", "Result", &body)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// One sentence about each policy but the baseline.
#[must_use]
pub fn verdicts(comparison: &Comparison) -> Vec<String> {
    comparison.policies.iter().skip(1).map(|policy| verdict(comparison, policy)).collect()
}

fn verdict(comparison: &Comparison, policy: &str) -> String {
    let all = Slice::All;
    let said = |name: &str, [less, more, neither]: [&str; 3]| {
        let figure = comparison.figure(&all, name, policy)?;
        let difference = figure.difference?;
        let words = match tone(figure) {
            Tone::Better => less,
            Tone::Worse => more,
            Tone::Plain => neither,
        };
        Some(format!("{words} ({})", change(&difference)))
    };
    let breaches = [
        "fewer weighted breach minutes",
        "more weighted breach minutes",
        "no difference shown in weighted breach minutes",
    ];
    let cost = ["cheaper", "dearer", "no difference shown in cost"];
    let parts = [said(BREACHES, breaches), said(COST, cost)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let mut sentence = format!("{policy}: {}", parts.join(", "));
    if comparison.oracle.as_deref() == Some(policy) {
        sentence.push_str("; it knows the future, and nobody can be expected to reach it");
    } else if let Some(gap) = comparison.gap(&all, policy) {
        let share = number((100.0 * gap.share).round());
        let between = between(gap.interval, 100.0);
        let baseline = &comparison.baseline;
        let _ = write!(
            sentence,
            "; closes {share}\u{a0}%{between} of the gap from {baseline} to the oracle"
        );
    }
    sentence + "."
}

/// Cost against breaches, with the policies that no other one beats.
pub(super) fn front(comparison: &Comparison, slice: &Slice) -> String {
    let best = comparison.front_of(slice);
    let names = best.join(", ");
    let text = paragraph(&format!(
        "Left is cheaper, down is fewer breaches. On the line, cheapest first: {names}. Hollow: \
             another policy is at least as good in both. Whiskers are 95 % intervals of each \
             policy alone; pairs are compared above."
    ));
    let drawing = front_drawing(comparison, slice);
    let body = format!("<div class=\"pair\">{drawing}<div>{text}</div></div>\n");
    section("front", "Cost against breaches", &body)
}

/// The drawing alone.
pub(super) fn front_drawing(comparison: &Comparison, slice: &Slice) -> String {
    let best = comparison.front_of(slice);
    let points: Vec<Point> = comparison
        .policies
        .iter()
        .enumerate()
        .filter_map(|(colour, policy)| {
            let cost = comparison.figure(slice, COST, policy)?;
            let breaches = comparison.figure(slice, BREACHES, policy)?;
            let ends =
                |figure: &Figure| figure.interval.map(|interval| [interval.low, interval.high]);
            Some(Point {
                name: policy.clone(),
                colour,
                at: [cost.mean, breaches.mean],
                intervals: [ends(cost), ends(breaches)],
                on_front: best.contains(policy),
            })
        })
        .collect();
    let drawing = front_chart(
        "Cost against weighted breach minutes",
        "core-hours paid per run",
        "weighted breach app-minutes per run",
        &points,
    );
    format!("<figure>{drawing}</figure>\n")
}

/// Where a policy does worse than the baseline: breaches first, in the order of the measures, and
/// the greatest loss of each first. Cost has a section of its own.
pub(super) fn losses(comparison: &Comparison) -> String {
    let by_scenario = |slice: &Slice| matches!(slice, Slice::Scenario(_) | Slice::Domain(_));
    let mut worse: Vec<_> = comparison
        .figures
        .iter()
        .filter(|figure| by_scenario(&figure.slice) && tone(figure) == Tone::Worse)
        .filter_map(|figure| {
            let measure = measure(figure.measure).filter(|measure| measure.judged)?;
            let cost = matches!(measure.name, COST | "idleCoreHours");
            (!cost).then_some((figure, measure, figure.difference?))
        })
        .collect();
    let size = |relative: f64| if relative.is_finite() { relative } else { f64::INFINITY };
    let place = |name: &str| MEASURES.iter().position(|measure| measure.name == name);
    worse.sort_by(|(_, first, one), (_, second, other)| {
        place(first.name)
            .cmp(&place(second.name))
            .then(size(other.relative).total_cmp(&size(one.relative)))
    });
    let rows: Vec<Vec<Cell>> = worse
        .iter()
        .map(|(figure, measure, difference)| {
            let place = match &figure.slice {
                Slice::Scenario(name) => name.clone(),
                Slice::Domain(name) => format!("domain {name}"),
                _ => String::new(),
            };
            let run = figure.worst.as_ref();
            vec![
                Cell::plain(format!("{} in {place}", figure.policy)),
                Cell::plain(title(measure)),
                Cell { text: number(figure.mean), note: change(difference), tone: Tone::Worse },
                run.map_or_else(Cell::default, |run| Cell {
                    text: number(run.value),
                    note: format!("{}, seed {}", run.scenario, run.seed),
                    tone: Tone::Plain,
                }),
            ]
        })
        .collect();
    let heading = format!("Where it got worse than with {}", comparison.baseline);
    if rows.is_empty() {
        let body = "Nowhere: no measure but cost is worse beyond doubt, in any scenario or domain.";
        return section("losses", &heading, &paragraph(body));
    }
    let head = ["Policy and place", "What", "Mean per run", "Worst run"].map(str::to_owned);
    let shown = rows.len().min(12);
    let mut body = table(&head, &rows[..shown]);
    if shown < rows.len() {
        let rest = format!("{} more", rows.len() - shown);
        body.push_str(&folded(&rest, &table(&head, &rows[shown..])));
    }
    section("losses", &heading, &body)
}

/// How the figures were made.
pub(super) fn method(facts: &[(&str, String)]) -> String {
    let rows: Vec<Vec<Cell>> = facts
        .iter()
        .map(|(name, value)| vec![Cell::plain(*name), Cell::plain(value.as_str())])
        .collect();
    let mut body = table(&["What".to_owned(), "Value".to_owned()], &rows);
    for text in [
        "Breach minutes are app-minutes in which an app was slower than its SLO, failed more often \
         than it may, or had no ready pod: from the true values, not from what telemetry showed. \
         Weighted: times the weight of the app's domain.",
        "Cost is CPU of paid nodes, from launch to termination, idle and starting ones included. \
         Churn is nodes that came plus nodes that went.",
        "Stampede: more than 5 times the usual number of nodes asked for within 30 s, and they come \
         late. Cascade: a domain with ordinary traffic breaks its SLO because it gets no pods where \
         another one grew. Inversion: a domain waits 30 s or more where a lower one is above its \
         budget or grew.",
        "Intervals: stratified bootstrap, 2000 drawings of seeds within each scenario, percentile \
         method. IQM: mean of the middle half of the runs. Changes over several scenarios compare \
         sums, so that large scenarios weigh more; see each scenario for itself.",
    ] {
        body.push_str(&paragraph(text));
    }
    section("method", "How to read this, and how it was made", &body)
}
