//! What a run leaves for people: a page with its losses, and the model card.

use std::fmt::Write as _;

use super::checkpoint::Line;
use super::forecaster::Args;
use crate::evaluation::report::{chart, html};
use crate::forecast::{FUTURE, Model, PAST, STATIC, TOKENS};

/// The page; written again at each look, so that it can be watched.
pub(super) fn report(args: &Args, lines: &[Line]) -> String {
    let points = |of: fn(&Line) -> f64| {
        lines.iter().map(|line| [line.step as f64, of(line)]).collect::<Vec<_>>()
    };
    let line = |name: &str, colour, points| chart::Line { name: name.to_owned(), colour, points };
    let losses = [
        line("training", 0, points(|line| line.loss)),
        line("validation", 1, points(|line| line.validation_loss)),
    ];
    let skill = [line("validation", 1, points(|line| 100.0 * line.validation_skill))];
    let unit = "pinball, in errors of the simple forecast";
    let body = [
        html::section("loss", "Loss", &chart::lines("loss", "step", unit, &losses)),
        html::section(
            "skill",
            "Loss saved against the simple forecast (level × usual), %",
            &chart::lines("skill", "step", "%", &skill),
        ),
    ];
    html::page(&format!("Training of {}, seed {}", args.network, args.seed), &body.concat(), "")
}

/// The model card of one run.
pub(super) fn text(args: &Args, model: &Model, lines: &[Line]) -> String {
    let mut text = format!(
        "# Forecaster `{}`, seed {}\n\nQuantiles p10, p50, p80, p90 of a domain's requests per second, 5, 15 and 30 min ahead. {} parameters. It sees {TOKENS} tokens of {} features, {} features per horizon and {} of the domain; all of them relative to the domain's own last day, so no domain's name or size is learned.\n\n",
        args.network,
        args.seed,
        model.network().parameters().count(),
        PAST.len(),
        FUTURE.len(),
        STATIC.len(),
    );
    for (name, value) in model.origin() {
        let _ = writeln!(text, "- {name}: {value}");
    }
    if let Some(last) = lines.last() {
        let _ = writeln!(
            text,
            "- trained: {} steps in {:.0} s, {} skipped",
            last.step, last.seconds, last.skipped
        );
    }
    text.push_str(
        "\nNot for: traffic coarser than a minute, series without two days of history, or scaling down on its word alone. Its raw quantiles are not calibrated; `serve` calibrates them online per domain and hour of day.\n",
    );
    text
}
