//! Figures as people read them.

use super::chart::Estimate;
use super::html::{Cell, Tone, number, percent, rounded};
use crate::evaluation::comparison::{Comparison, Difference, Figure, Slice};
use crate::evaluation::statistics::Interval;
use crate::evaluation::{MEASURES, Measure};

/// A measure by its name.
pub(super) fn measure(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.name == name)
}

/// Its title with its unit.
pub(super) fn title(measure: &Measure) -> String {
    match measure.unit {
        "" => measure.title.to_owned(),
        unit => format!("{} ({unit})", measure.title),
    }
}

/// The mean, and below it the change against the baseline.
pub(super) fn cell(comparison: &Comparison, slice: &Slice, name: &str, policy: &str) -> Cell {
    let Some(figure) = comparison.figure(slice, name, policy) else {
        return Cell::plain(number(f64::NAN));
    };
    let judged = measure(name).is_some_and(|measure| measure.judged);
    Cell {
        text: number(figure.mean),
        note: figure.difference.as_ref().map(change).unwrap_or_default(),
        tone: if judged { tone(figure) } else { Tone::Plain },
    }
}

/// Better or worse than the baseline, where the interval leaves no doubt.
pub(super) fn tone(figure: &Figure) -> Tone {
    let Some(difference) = &figure.difference else { return Tone::Plain };
    match difference.interval {
        Some(interval) if interval.excludes_zero() => {
            if difference.mean < 0.0 {
                Tone::Better
            } else {
                Tone::Worse
            }
        }
        _ => Tone::Plain,
    }
}

/// The change in percent with its interval; absolute where the baseline has 0.
pub(super) fn change(difference: &Difference) -> String {
    if difference.relative.is_finite() {
        let interval = difference.relative_interval;
        format!("{}{}", percent(difference.relative), between(interval, 100.0))
    } else if difference.mean.is_finite() {
        let sign = if difference.mean > 0.0 { "+" } else { "" };
        format!("{sign}{}{}", number(difference.mean), between(difference.interval, 1.0))
    } else {
        String::new()
    }
}

/// An interval in brackets; empty without one. A factor of 100 makes percentages of it.
pub(super) fn between(interval: Option<Interval>, factor: f64) -> String {
    let end = |value: f64| number(if factor == 1.0 { value } else { rounded(factor * value) });
    interval.map_or_else(String::new, |Interval { low, high }| {
        format!(" [{},\u{a0}{}]", end(low), end(high))
    })
}

/// The change of each policy against the baseline, as rows of an interval chart.
pub(super) fn changes(comparison: &Comparison, slice: &Slice, measure: &str) -> Vec<Estimate> {
    let policies = comparison.policies.iter().enumerate().skip(1);
    let row = |(colour, policy): (usize, &String)| {
        let difference = comparison.figure(slice, measure, policy)?.difference?;
        let interval = difference.relative_interval;
        Some(Estimate {
            name: policy.clone(),
            colour,
            value: 100.0 * difference.relative,
            interval: interval.map(|interval| [100.0 * interval.low, 100.0 * interval.high]),
            note: change(&difference),
        })
    };
    policies.filter_map(row).collect()
}
