//! The course of a run as a page that draws itself anew while it is open.

use super::Line;
use crate::evaluation::report::{chart, html};

/// Seconds after which an open page looks again.
const AGAIN: u32 = 10;

/// The page of these lines of the log.
pub(super) fn page(lines: &[Line], title: &str) -> String {
    let course = |name: &str, colour: usize, of: &dyn Fn(&Line) -> f64| chart::Line {
        name: name.to_owned(),
        colour,
        points: lines.iter().map(|line| [line.iteration as f64, of(line)]).collect(),
    };
    let drawn = |label: &str, unit: &str, courses: &[chart::Line]| {
        html::section("", label, &chart::lines(label, "iteration", unit, courses))
    };
    let body = [
        drawn(
            "Without trying, in members that are not trained on",
            "multiple of the rule's",
            &[
                course("weighted breach", 0, &|line| line.look_breach),
                course("cost", 1, &|line| line.look_cost),
                course("weighted breach, large apps", 2, &|line| line.look_large_breach),
                course("cost, large apps", 3, &|line| line.look_large_cost),
                course("weighted breach, many apps", 4, &|line| line.look_many_breach),
                course("cost, many apps", 5, &|line| line.look_many_cost),
            ],
        ),
        drawn(
            "While trying",
            "multiple of the rule's",
            &[
                course("weighted breach", 0, &|line| line.breach),
                course("cost", 1, &|line| line.cost),
            ],
        ),
        drawn(
            "Paid beyond the rule",
            "minutes of breach per app and hour",
            &[
                course("breach", 0, &|line| line.paid_breach),
                course("degradation", 1, &|line| line.paid_degradation),
                course("adherence", 2, &|line| line.paid_adherence),
                course("oscillation", 3, &|line| line.paid_oscillation),
                course("cold", 4, &|line| line.paid_cold),
                course("cost", 5, &|line| line.paid_cost),
            ],
        ),
        drawn(
            "Price of a core-hour",
            "minutes of breach",
            &[course("price", 2, &|line| line.price)],
        ),
        drawn(
            "Divergence of each head",
            "KL per action",
            &[
                course("steps, or shares", 0, &|line| line.kl_first),
                course("splits, or headroom", 1, &|line| line.kl_second),
                course("velocity", 2, &|line| line.kl_third),
            ],
        ),
        drawn(
            "Critic",
            "squared error, in variances of the returns",
            &[course("error", 3, &|line| line.critic_loss)],
        ),
    ];
    let again = format!("setTimeout(() => location.reload(), {AGAIN} * 1000);\n");
    html::page(title, &body.concat(), &again)
}
