//! report.html.

use super::{Excerpt, Report, SeriesReport, table};
use crate::evaluation::report::chart::{Band, Estimate, Line, fan, intervals};
use crate::evaluation::report::html::{
    Cell, Tone, folded, page, paragraph, section, table as rows,
};
use crate::forecast::accuracy::{Finding, Judged, Judgement};

/// The page.
pub(super) fn html(report: &Report) -> String {
    let mut body = paragraph(&format!(
        "Forecasts 5, 15 and 30 minutes ahead, made every {} minutes from day {} on, each from what was known \
         when it was made. Quantiles of every forecaster are corrected online on its own errors. Version {}, {}.",
        report.every_minutes, report.from_day, report.version, report.command
    ));
    body += &section("skill", "Skill", &skill(report));
    for (place, series) in report.series.iter().enumerate() {
        body += &section(&format!("series-{place}"), &series.name, &of_series(series));
    }
    if !report.ineligible.is_empty() {
        let line = |it: &super::Refused| paragraph(&format!("{}: {}.", it.name, it.reason));
        let lines: String = report.ineligible.iter().map(line).collect();
        body += &section("left-out", "Left out", &lines);
    }
    page("How good the forecasts are", &body, "")
}

fn skill(report: &Report) -> String {
    let mut out = paragraph(
        "1 - pinball loss / pinball loss of the other, over all horizons: above 0 is better. Whiskers are the \
         middle 95 % when blocks of days are drawn again.",
    );
    for ours in table::judged(report) {
        skill_of(&mut out, report, ours);
    }
    out
}

fn skill_of(out: &mut String, report: &Report, ours: &str) {
    for (theirs, all) in table::skills(report, ours) {
        let median = percent(table::median(&all));
        let title = format!("{ours} against {theirs}: median {median}");
        let estimate = |series: &SeriesReport| {
            let of = series.assessment.skills.iter().filter(|it| it.ours == ours);
            let mut skills = of.filter(|it| it.theirs == theirs);
            let wanted = skills.find(|it| it.horizon_minutes.is_none())?;
            let skill = wanted.skill?;
            Some(Estimate {
                name: series.name.clone(),
                colour: usize::from(skill.skill < 0.0),
                value: skill.skill,
                interval: skill.interval,
                note: percent(skill.skill),
            })
        };
        let estimates: Vec<Estimate> = report.series.iter().filter_map(estimate).collect();
        *out += &paragraph(&title);
        *out += &intervals(&title, "skill", &estimates);
    }
}

fn of_series(series: &SeriesReport) -> String {
    let Some(first) = series.assessment.forecasters.first() else { return String::new() };
    let mut out = verdict(first);
    if let Some(told) = table::weeks(series) {
        out += &paragraph(&format!("{told}."));
    }
    out += &coverage(first);
    out += &chart(&series.excerpt);
    out += &folded("Losses of every forecaster", &losses(&series.assessment.forecasters));
    out
}

fn verdict(judged: &Judged) -> String {
    let wrong: Vec<String> = judged
        .verdict
        .aggregate
        .iter()
        .chain(&judged.verdict.groups)
        .filter(|finding| finding.judgement == Judgement::Wrong)
        .map(|it| format!("{} {} min: {}", it.group, it.horizon_minutes, percent(it.exceedance)))
        .collect();
    if wrong.is_empty() {
        return paragraph(&format!(
            "{}: p80 keeps its promise wherever enough was seen.",
            judged.name
        ));
    }
    let hidden = if judged.verdict.aggregate_looks_right() {
        " The aggregate alone does not show it."
    } else {
        ""
    };
    paragraph(&format!("{}: p80 is wrong in {}.{hidden}", judged.name, wrong.join("; ")))
}

fn coverage(judged: &Judged) -> String {
    let head = ["Outcomes above p80", "5 min", "15 min", "30 min"].map(str::to_owned);
    let all = judged.verdict.aggregate.chunks(3).chain(judged.verdict.groups.chunks(3));
    let cell = |finding: &Finding| Cell {
        text: percent(finding.exceedance),
        note: match finding.judgement {
            Judgement::TooFew => format!("of {}, too few to judge", finding.outcomes),
            _ => format!("of {}", finding.outcomes),
        },
        tone: if finding.judgement == Judgement::Wrong { Tone::Worse } else { Tone::Plain },
    };
    let line = |findings: &[Finding]| {
        let name = findings.first().map_or("", |finding| &finding.group);
        [Cell::plain(name)].into_iter().chain(findings.iter().map(cell)).collect()
    };
    rows(&head, &all.map(line).collect::<Vec<_>>())
}

fn losses(forecasters: &[Judged]) -> String {
    let head = [
        "Forecaster",
        "Horizon",
        "WQL",
        "WAPE",
        "Masked MAPE",
        "Poisson floor (if requests/s)",
        "p90 - p10 over p50",
        "Above p80",
        "Outliers by outcome: above p80",
    ]
    .map(str::to_owned);
    let line = |judged: &Judged| {
        let of = |it: &crate::forecast::accuracy::Measures| {
            vec![
                Cell::plain(judged.name.clone()),
                Cell::plain(format!("{} min", it.horizon_minutes)),
                Cell::plain(percent(it.wql)),
                Cell::plain(percent(it.wape)),
                Cell {
                    text: percent(it.masked_mape),
                    note: format!("{} masked", percent(it.masked)),
                    tone: Tone::Plain,
                },
                Cell::plain(percent(it.poisson_floor)),
                Cell::plain(percent(it.sharpness)),
                Cell::plain(percent(it.exceedance[2])),
                Cell {
                    text: percent(it.outlier_exceedance),
                    note: format!("of {}", it.outliers),
                    tone: Tone::Plain,
                },
            ]
        };
        judged.measures.iter().map(of).collect::<Vec<_>>()
    };
    rows(&head, &forecasters.iter().flat_map(line).collect::<Vec<_>>())
}

/// The last day, as forecast 15 minutes before.
fn chart(Excerpt(points): &Excerpt) -> String {
    if points.is_empty() {
        return String::new();
    }
    let column = |at: usize| points.iter().map(|point| [point[0], point[at]]).collect::<Vec<_>>();
    let line = |name: &str, colour, at| Line { name: name.to_owned(), colour, points: column(at) };
    let band = Band { low: column(1), high: column(4) };
    let lines = [line("came", 0, 5), line("p50", 1, 2), line("p80", 2, 3)];
    let label = "the last day and what was forecast 15 minutes before, p10 to p90";
    fan(label, "hour", "traffic", &lines, &[band])
}

fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.1}\u{a0}%", 100.0 * part) } else { "–".to_owned() }
}
