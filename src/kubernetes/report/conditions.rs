//! What is true of a domain, found in one decision.

use std::collections::HashMap;
use std::time::Duration;

use super::placing::Figures;
use crate::cluster::AppId;
use crate::cluster::ForecastSource;
use crate::cluster::Timestamp;
use crate::cluster::{BudgetByHand, Declaration};
use crate::kubernetes::DomainObject;
use crate::placement::Budgets;
use crate::placement::Refusal;
use crate::safety::Decision;
use crate::safety::Reason;
use crate::safety::Rung;

pub(super) const READY: &str = "Ready";
pub(super) const TELEMETRY_FRESH: &str = "TelemetryFresh";
pub(super) const POLICY_HEALTHY: &str = "PolicyHealthy";
pub(super) const BUDGET_SUFFICIENT: &str = "BudgetSufficient";
pub(super) const NAMESPACES_UNAMBIGUOUS: &str = "NamespacesUnambiguous";
pub(super) const HPA_SYNC_TIMELY: &str = "HpaSyncTimely";

pub(super) const FORECAST_READY: &str = "ForecastReady";

pub(super) const PLACEMENT_OPEN: &str = "PlacementOpen";

pub(super) const BUDGET_BY_HAND: &str = "BudgetByHand";
pub(super) const EMERGENCY: &str = "Emergency";

pub(super) const FLOORS_SCALED: &str = "FloorsScaled";
pub(super) const BORROWING: &str = "BorrowingWithinLimit";

/// The reason for everything that cannot be told of a Domain whose spec makes no sense.
pub(super) const INVALID_SPEC: &str = "InvalidSpec";

/// Share of a domain's apps that may lack telemetry before the domain counts as impaired.
const TOLERATED_SHARE: f64 = 0.05;
/// Seconds between two reads of an HPA beyond which its sync is late: 15 s are meant.
const LATE_SYNC_SECONDS: f64 = 20.0;

/// One condition as a decision shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) type_: &'static str,
    /// `None` when it cannot be told.
    pub(super) holds: Option<bool>,
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// It follows from an edit, not from measurements: believed without waiting.
    pub(super) at_once: bool,
}

impl Finding {
    fn new(
        type_: &'static str,
        holds: Option<bool>,
        reason: &'static str,
        message: String,
    ) -> Self {
        Self { type_, holds, reason, message, at_once: false }
    }

    /// `True`, `False` or `Unknown`.
    pub(super) const fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// A declaration of an operator, or what follows from some, as a decision shows it. It needs no waiting:
/// whether it holds is the decider's word.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declared {
    pub(super) type_: &'static str,
    /// What, until when, by whom and why, in one sentence; `None` when it does not hold.
    pub(super) holds: Option<String>,
    /// Whether somebody should look when it begins.
    pub(super) warning: bool,
    /// The reason while it holds, and the one when it no longer does.
    pub(super) reasons: [&'static str; 2],
    /// The sentence when it no longer holds.
    pub(super) ended: &'static str,
}

/// What operators declared for the domain.
pub(super) fn declared(decision: &Decision, index: usize) -> [Declared; 3] {
    let (domain, decided) = (&decision.catalog.domains[index], &decision.domains[index]);
    let sentence = |what: String, declared: &Declaration| {
        format!("{what} until {}, set by {}: {}", declared.until, declared.by, declared.reason)
    };
    let budget = domain.budget_by_hand.as_ref().filter(|_| decided.by_hand.is_some());
    let emergency = domain.emergency.as_ref().filter(|_| decided.emergency_until.is_some());
    [
        Declared {
            type_: BUDGET_BY_HAND,
            holds: budget.map(|set| sentence(shares(set), &set.declaration)),
            warning: false,
            reasons: ["BudgetSetByHand", "BudgetByHandExpired"],
            ended: "The policy sets its shares again",
        },
        Declared {
            type_: EMERGENCY,
            holds: emergency.map(|declared| {
                let what = "It may use the emergency band and the reserve";
                sentence(what.to_owned(), declared)
            }),
            warning: false,
            reasons: ["EmergencyDeclared", "EmergencyEnded"],
            ended: "No emergency is declared",
        },
        Declared {
            type_: FLOORS_SCALED,
            holds: floors(decision).filter(|_| domain.floor_share > 0.0),
            warning: true,
            reasons: ["FloorsExceedPools", "FloorsFit"],
            ended: "The floors of all Domains fit into the shared pools beside the reserve",
        },
    ]
}

/// The floors that cannot all be kept, as words; none while they can.
fn floors(decision: &Decision) -> Option<String> {
    let budgets = Budgets::of(decision, 0.0, Timestamp::default());
    let sum: f64 = budgets.domains.iter().map(|domain| domain.floor).sum();
    budgets.floors_are_scaled().then(|| {
        format!(
            "The floors of all Domains sum to {:.1} % of every shared pool, and {:.1} % is left beside the \
             reserve: floors of higher classes are kept first",
            sum * 100.0,
            (1.0 - budgets.reserve) * 100.0
        )
    })
}

/// The shares set by hand, as words.
fn shares(set: &BudgetByHand) -> String {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let mut words: Vec<String> = Vec::new();
    words.extend(set.share.map(|share| format!("{} of every shared pool", percent(share))));
    words.extend(set.pools.iter().map(|(pool, share)| format!("{} of {pool:?}", percent(*share))));
    format!("Its share is {}", words.join(", "))
}

/// Everything but `Ready`, which follows from these: see [`ready`]. `refused` are the domains of
/// which pods were refused a place lately; `None` where placement is not ours.
pub(super) fn find(
    object: &DomainObject,
    decision: &Decision,
    index: Option<usize>,
    intervals: &HashMap<AppId, Duration>,
    refused: Option<&[Refusal]>,
) -> Vec<Finding> {
    let Some(index) = index else {
        let types = [
            TELEMETRY_FRESH,
            POLICY_HEALTHY,
            BUDGET_SUFFICIENT,
            NAMESPACES_UNAMBIGUOUS,
            HPA_SYNC_TIMELY,
        ];
        return types
            .into_iter()
            .map(|type_| Finding {
                at_once: true,
                ..Finding::new(type_, None, INVALID_SPEC, "The Domain is not used".to_owned())
            })
            .collect();
    };
    let mut findings = vec![
        telemetry(decision, index),
        policy(decision, index),
        budget(decision, index),
        namespaces(object),
        sync(decision, index, intervals),
    ];
    findings.extend(forecast(decision, index));
    findings.extend(refused.map(|refused| placement(object, refused)));
    findings
}

/// Whether its traffic is forecast by the best source that is configured; nothing where nobody forecasts.
fn forecast(decision: &Decision, index: usize) -> Option<Finding> {
    let outlook = decision.forecasts.get(index)?;
    let source = outlook.source;
    let best = match source {
        ForecastSource::Model => "Its traffic is forecast by the learned model",
        ForecastSource::SeasonalProfile => {
            "Its traffic is forecast by its level and what is usual: no learned model is configured"
        }
        ForecastSource::Smoothing => "Its traffic is forecast by its level alone",
        ForecastSource::None => "Its traffic is not forecast",
    };
    let stands_in = match source {
        ForecastSource::None => best,
        _ => "A simpler forecast stands in",
    };
    let message = match &outlook.why {
        Some(why) => format!("{stands_in}: {why}"),
        None => best.to_owned(),
    };
    Some(Finding::new(FORECAST_READY, Some(outlook.why.is_none()), source.reason(), message))
}

/// Whether its pods find budget when they are placed. The sentence has no numbers: they change
/// without pause; `hirl why pod` has them.
fn placement(object: &DomainObject, refused: &[Refusal]) -> Finding {
    let own = refused.iter().find(|one| one.domain() == Some(&object.name));
    match own {
        Some(refusal) => Finding::new(
            PLACEMENT_OPEN,
            Some(false),
            "PodsRefused",
            format!("{refusal}; its new pods wait"),
        ),
        None => Finding::new(
            PLACEMENT_OPEN,
            Some(true),
            "NoPodRefused",
            "No pod of it was refused a place for want of budget".to_owned(),
        ),
    }
}

/// Whether it uses no more than its Domain lets it borrow. The sentence has no numbers, as above.
pub(super) fn borrowing(figures: &Figures) -> Finding {
    if figures.beyond.is_empty() {
        let message = "It uses no more of the shared pools than it may borrow".to_owned();
        return Finding::new(BORROWING, Some(true), "WithinLimit", message);
    }
    let pools: Vec<String> = figures.beyond.iter().map(|pool| format!("{pool:?}")).collect();
    let message = format!(
        "It uses more of pool {} than spec.borrowing allows: no pod of it is evicted at once; reclaim, \
         where it is switched on, brings it down",
        pools.join(", ")
    );
    Finding::new(BORROWING, Some(false), "AboveBorrowingLimit", message)
}

/// The summary.
pub(super) fn ready(
    object: &DomainObject,
    apps: usize,
    others: &[(&str, &str, &str, &str)],
) -> Finding {
    let summary = |holds, reason, message| Finding {
        at_once: true,
        ..Finding::new(READY, Some(holds), reason, message)
    };
    if let Some(problem) = &object.problem {
        return summary(
            false,
            INVALID_SPEC,
            format!("{problem}; its namespaces belong to the default domain until this is mended"),
        );
    }
    // Late syncs and short budgets limit what is achieved; the domain is still managed.
    let vital = [NAMESPACES_UNAMBIGUOUS, TELEMETRY_FRESH, POLICY_HEALTHY];
    for wanted in vital {
        for (type_, status, reason, message) in others {
            if *type_ == wanted && *status == "False" {
                return summary(false, known_reason(reason), (*message).to_owned());
            }
        }
    }
    if apps == 0 {
        return summary(true, "NoApps", "No HPA in its namespaces reads our metric".to_owned());
    }
    summary(true, "Managed", "Its apps follow the decisions of its mode".to_owned())
}

/// The reasons that make a domain not ready. A condition may come from an older version of us.
fn known_reason(reason: &str) -> &'static str {
    [NAMESPACES_CONTESTED, TELEMETRY_STALE, TELEMETRY_INCOMPLETE, VALUES_REJECTED, NOT_FINITE]
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("Impaired")
}

const NAMESPACES_CONTESTED: &str = "NamespaceInSeveralDomains";
const TELEMETRY_STALE: &str = "TelemetryStale";
const TELEMETRY_INCOMPLETE: &str = "TelemetryIncomplete";
const VALUES_REJECTED: &str = "ValuesRejected";
const NOT_FINITE: &str = "PolicyNotFinite";

fn telemetry(decision: &Decision, index: usize) -> Finding {
    let finding = |holds, reason, message| Finding::new(TELEMETRY_FRESH, holds, reason, message);
    let (mut apps, mut stale, mut incomplete) = (0_u32, 0_u32, 0_u32);
    for (app, decided) in decision.catalog.apps.iter().zip(&decision.apps) {
        if app.domain != index || app.refusal.is_some() {
            continue;
        }
        apps += 1;
        stale += u32::from(decided.rung >= Rung::LastGood);
        incomplete += u32::from(decided.missing.is_some());
    }
    if apps == 0 {
        return finding(None, "NoApps", "There is nothing to measure".to_owned());
    }
    let many = |count: u32| f64::from(count) > TOLERATED_SHARE * f64::from(apps);
    let rejected = decision.domains[index].rejected_share;
    if many(stale) {
        let message = format!(
            "{stale} of {apps} apps have no fresh telemetry: they keep their last good number, then none is served"
        );
        return finding(Some(false), TELEMETRY_STALE, message);
    }
    if many(incomplete) {
        let message = format!("{incomplete} of {apps} apps lack a signal that the policy needs");
        return finding(Some(false), TELEMETRY_INCOMPLETE, message);
    }
    if rejected > TOLERATED_SHARE {
        let percent = rejected * 100.0;
        let message = format!("Values of {percent:.0} % of the apps were rejected as impossible");
        return finding(Some(false), VALUES_REJECTED, message);
    }
    finding(Some(true), "TelemetryFresh", "Its apps have fresh telemetry".to_owned())
}

fn policy(decision: &Decision, index: usize) -> Finding {
    let mut broken = decision
        .catalog
        .apps
        .iter()
        .zip(&decision.apps)
        .filter(|(app, decided)| app.domain == index && decided.reasons.has(Reason::NotFinite));
    match broken.next() {
        None => Finding::new(
            POLICY_HEALTHY,
            Some(true),
            "PolicyHealthy",
            "The policy proposes finite numbers".to_owned(),
        ),
        Some((app, _)) => Finding::new(
            POLICY_HEALTHY,
            Some(false),
            NOT_FINITE,
            format!(
                "The policy proposed no finite number for {}; the present count is kept",
                app.id
            ),
        ),
    }
}

fn budget(decision: &Decision, index: usize) -> Finding {
    let domain = &decision.domains[index];
    if let Some(budget) = domain.budget_cores
        && domain.shortage_cores > 0.0
    {
        let message = format!(
            "The lower bounds of its HPAs need {:.1} cores more than its budget of {budget:.1}",
            domain.shortage_cores
        );
        return Finding::new(BUDGET_SUFFICIENT, Some(false), "BudgetExhausted", message);
    }
    let message = "The budget covers the lower bounds of its HPAs".to_owned();
    Finding::new(BUDGET_SUFFICIENT, Some(true), "BudgetSufficient", message)
}

fn namespaces(object: &DomainObject) -> Finding {
    let finding = |holds, reason, message| Finding {
        at_once: true,
        ..Finding::new(NAMESPACES_UNAMBIGUOUS, Some(holds), reason, message)
    };
    let Some((namespace, domains)) = object.contested.first() else {
        let message = "No other Domain selects its namespaces".to_owned();
        return finding(true, "NamespacesUnambiguous", message);
    };
    let more = match object.contested.len() - 1 {
        0 => String::new(),
        count => format!(", and so are {count} more namespaces"),
    };
    let message = format!(
        "Namespace {namespace} is selected by {}{more}: no number is served there",
        domains.join(", ")
    );
    finding(false, NAMESPACES_CONTESTED, message)
}

fn sync(decision: &Decision, index: usize, intervals: &HashMap<AppId, Duration>) -> Finding {
    let of_domain = |id: &AppId| intervals.get(id).map(Duration::as_secs_f64);
    let mut known: Vec<f64> = decision
        .catalog
        .apps
        .iter()
        .filter(|app| app.domain == index && app.refusal.is_none())
        .filter_map(|app| of_domain(&app.id))
        .collect();
    if known.is_empty() {
        let message = "No HPA has read its number twice yet".to_owned();
        return Finding::new(HPA_SYNC_TIMELY, None, "NotRead", message);
    }
    known.sort_by(f64::total_cmp);
    let median = known[known.len() / 2];
    if median > LATE_SYNC_SECONDS {
        let message = format!(
            "Half of its HPAs are read every {median:.0} s or more slowly, 15 s are meant: raise \
             --concurrent-horizontal-pod-autoscaler-syncs, --kube-api-qps and --kube-api-burst of \
             the controller-manager"
        );
        return Finding::new(HPA_SYNC_TIMELY, Some(false), "HpaSyncSlow", message);
    }
    let message = "Its HPAs are read about every 15 s".to_owned();
    Finding::new(HPA_SYNC_TIMELY, Some(true), "HpaSyncTimely", message)
}
