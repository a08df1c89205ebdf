//! The table of rules: one line each.

use crate::cli::objects::Objects;

use super::finding::Finding;
use super::{conflicts, memory, metric, pace};

/// A rule by name.
pub(super) struct Rule {
    /// Name in the report.
    pub(super) name: &'static str,
    /// What it looks for.
    pub(super) summary: &'static str,
    find: fn(&Objects) -> Vec<Finding>,
}

/// Every rule, in the order of the report.
pub(super) const RULES: [Rule; 12] = [
    Rule {
        name: "bounds",
        summary: "minReplicas above maxReplicas, or bounds that no cluster accepts",
        find: conflicts::bounds,
    },
    Rule {
        name: "memory-blocks-scale-down",
        summary: "a memory metric that keeps pods for ever",
        find: memory::blocks_scale_down,
    },
    Rule {
        name: "value-target",
        summary: "our metric with a Value target",
        find: metric::value_target,
    },
    Rule {
        name: "average-value-not-one",
        summary: "our metric with an averageValue other than 1",
        find: metric::average_value,
    },
    Rule {
        name: "selector",
        summary: "our metric without a selector that matches this app alone",
        find: metric::selector,
    },
    Rule {
        name: "no-cpu-request",
        summary: "our metric on pods that request no CPU",
        find: metric::no_cpu_request,
    },
    Rule {
        name: "shared-target",
        summary: "two HPAs on one scale target",
        find: conflicts::shared_target,
    },
    Rule {
        name: "vpa-on-cpu",
        summary: "an HPA and a VPA on the same CPU",
        find: conflicts::vpa_on_cpu,
    },
    Rule {
        name: "tolerance",
        summary: "our metric without tolerance 0, so that small changes do nothing",
        find: pace::tolerance,
    },
    Rule {
        name: "slow-scale-down",
        summary: "our metric behind a long stabilisation window",
        find: pace::slow_scale_down,
    },
    Rule {
        name: "capped-scale-up",
        summary: "our metric behind policies that hold a rise back",
        find: pace::capped_scale_up,
    },
    Rule {
        name: "sum-of-max",
        summary: "maxReplicas that together exceed the nodes",
        find: conflicts::sum_of_max,
    },
];

/// Runs every rule; errors first, then by the order of the table.
pub(super) fn run(objects: &Objects) -> Vec<Finding> {
    let mut all: Vec<Finding> = RULES
        .iter()
        .flat_map(|rule| {
            (rule.find)(objects).into_iter().map(|finding| Finding { rule: rule.name, ..finding })
        })
        .collect();
    all.sort_by_key(|finding| finding.severity);
    all
}
