//! The verbs that answer from memory: body in, body out, the ledger locked for a moment.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;

use super::wire::{
    Args, Chosen, Failed, FilterResult, HostPriority, Kept, PreemptArgs, PreemptResult,
};
use crate::cluster::Timestamp;
use crate::instruments::{ExtenderInstruments, OutcomeLabel, RefusalLabel};
use crate::kubernetes::Placements;
use crate::placement::{Ask, FilterVerdict, Refusal};

/// The answer to whole nodes in place of names.
const NAMES_ONLY: &str =
    "budget: set nodeCacheCapable: true for this extender, it reads node names only";
/// The answer to a question about no pod.
const NO_POD: &str = "budget: the question names no pod";

/// How a refusal is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// `ignorable: false`: an `Error` makes the pod wait.
    Strict,
    /// `ignorable: true`: an `Error` would be ignored, failed nodes are not.
    Open,
}

impl Mode {
    /// The name in paths and metric labels.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Open => "open",
        }
    }
}

/// What to send back.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status; policy is always 200.
    pub(super) code: StatusCode,
    /// JSON with 200, else one sentence.
    pub(super) body: Vec<u8>,
    /// What it was, of a closed set.
    pub(super) outcome: &'static str,
}

impl Answer {
    /// A correct answer of the protocol.
    pub(super) fn json(outcome: &'static str, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { code: StatusCode::OK, body, outcome },
            Err(error) => Self {
                code: StatusCode::INTERNAL_SERVER_ERROR,
                body: format!("the answer could not be written: {error}").into_bytes(),
                outcome: "internal",
            },
        }
    }

    /// A request that is none.
    pub(super) fn malformed(sentence: impl std::fmt::Display) -> Self {
        let body = sentence.to_string().into_bytes();
        Self { code: StatusCode::BAD_REQUEST, body, outcome: "malformed" }
    }
}

/// Whether a refusal says that we cannot judge, not that there is no budget.
fn is_our_trouble(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Warming | Refusal::NoBudgets | Refusal::NotOwner)
}

/// The name of a refusal in metric labels.
pub(super) fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Budget { .. } => "budget",
        Refusal::Borrowing { .. } => "borrowing",
        Refusal::Guarded { .. } => "guarded",
        Refusal::Reserve { .. } => "reserve",
        Refusal::NodesFull { .. } => "nodes-full",
        Refusal::Warming => "warming",
        Refusal::NoBudgets => "no-budgets",
        Refusal::BindInProgress => "bind-in-progress",
        Refusal::OtherNode => "other-node",
        Refusal::UnknownNode => "unknown-node",
        Refusal::UnknownPod => "unknown-pod",
        Refusal::NotOwner => "not-owner",
    }
}

fn count(refusal: &Refusal, instruments: &ExtenderInstruments) {
    let (domain, resource) = match refusal {
        Refusal::Budget { domain, resource }
        | Refusal::Borrowing { domain, resource }
        | Refusal::Reserve { domain, resource } => (domain, resource.to_string()),
        Refusal::NodesFull { domain } | Refusal::Guarded { domain } => (domain, "none".to_owned()),
        _ => return,
    };
    let label = RefusalLabel { domain: domain.to_string(), resource, reason: reason(refusal) };
    instruments.refusals.get_or_create(&label).inc();
}

fn fail_open(outcome: &'static str, instruments: &ExtenderInstruments) {
    instruments.fail_open.get_or_create(&OutcomeLabel { outcome }).inc();
}

/// The question of `filter` and `prioritize`.
fn read(body: &[u8]) -> Result<Args<'_>, Answer> {
    serde_json::from_slice(body)
        .map_err(|error| Answer::malformed(format_args!("the body is no ExtenderArgs: {error}")))
}

/// Which nodes the pod may go to.
pub(super) fn filter(
    placements: &Placements,
    mode: Mode,
    body: &[u8],
    now: Timestamp,
    instruments: &ExtenderInstruments,
) -> Answer {
    let args = match read(body) {
        Ok(args) => args,
        Err(answer) => return answer,
    };
    let names = match (args.names, args.nodes) {
        (None, Some(_)) => {
            return Answer::json("full-nodes", &FilterResult::error(NAMES_ONLY));
        }
        (names, _) => names.unwrap_or_default(),
    };
    let ask = match args.pod.as_ref().map_or_else(|| Err(NO_POD.to_owned()), asked) {
        Ok(ask) => ask,
        Err(sentence) => return Answer::json("malformed", &FilterResult::error(&sentence)),
    };
    let verdict = placements.lock().filter(&ask, &names, now);
    let refusal = match verdict {
        FilterVerdict::Pass(_) => {
            return Answer::json("pass", &FilterResult::nodes(Chosen::All(&names)));
        }
        FilterVerdict::Narrowed(chosen) => {
            if !chosen.is_empty() {
                instruments.holds.inc();
            }
            let result = FilterResult::nodes(Chosen::These(&names, &chosen));
            return Answer::json("narrowed", &result);
        }
        FilterVerdict::NodesFull(refusal) => {
            count(&refusal, instruments);
            let why = refusal.to_string();
            // One entry, so that the count in the scheduler's text never changes.
            let failed = Failed { names: &names[..names.len().min(1)], why: &why };
            return Answer::json("nodes-full", &FilterResult::failed(failed));
        }
        FilterVerdict::Refused(refusal) => refusal,
    };
    let why = refusal.to_string();
    match (mode, is_our_trouble(&refusal)) {
        (Mode::Open, true) => {
            fail_open(reason(&refusal), instruments);
            Answer::json("fail-open", &FilterResult::nodes(Chosen::All(&names)))
        }
        (Mode::Open, false) => {
            count(&refusal, instruments);
            let failed = Failed { names: &names, why: &why };
            Answer::json("refused", &FilterResult::failed(failed))
        }
        (Mode::Strict, trouble) => {
            count(&refusal, instruments);
            let outcome = if trouble { "not-ready" } else { "refused" };
            Answer::json(outcome, &FilterResult::error(&why))
        }
    }
}

fn asked(pod: &crate::kubernetes::AskedPod) -> Result<Ask, String> {
    pod.ask().map_err(|what| format!("budget: {what}"))
}

/// A score of 0 to 10 per node.
pub(super) fn prioritize(placements: &Placements, body: &[u8]) -> Answer {
    let args = match read(body) {
        Ok(args) => args,
        Err(answer) => return answer,
    };
    let names = match (args.names, args.nodes) {
        (None, Some(_)) => return Answer::malformed(NAMES_ONLY),
        (names, _) => names.unwrap_or_default(),
    };
    let ask = match args.pod.as_ref().map_or_else(|| Err(NO_POD.to_owned()), asked) {
        Ok(ask) => ask,
        Err(sentence) => return Answer::malformed(sentence),
    };
    let scores = placements.lock().prioritize(&ask, &names);
    let list: Vec<HostPriority<'_>> = names
        .iter()
        .zip(scores)
        .map(|(name, score)| HostPriority { host: name.as_ref(), score: score.min(10) })
        .collect();
    Answer::json("scored", &list)
}

/// Which candidates may be emptied for the pod.
pub(super) fn preempt(
    placements: &Placements,
    mode: Mode,
    body: &[u8],
    now: Timestamp,
    instruments: &ExtenderInstruments,
) -> Answer {
    let args: PreemptArgs<'_> = match serde_json::from_slice(body) {
        Ok(args) => args,
        Err(error) => {
            let sentence = format_args!("the body is no ExtenderPreemptionArgs: {error}");
            return Answer::malformed(sentence);
        }
    };
    if args.whole.is_some() && args.victims.is_none() {
        return Answer::malformed(NAMES_ONLY);
    }
    let ask = match args.pod.as_ref().map_or_else(|| Err(NO_POD.to_owned()), asked) {
        Ok(ask) => ask,
        Err(sentence) => return Answer::malformed(sentence),
    };
    let offered = args.victims.unwrap_or_default().0;
    let candidates: Vec<(&str, Vec<&str>)> =
        offered.iter().map(|(node, victims)| (node.as_ref(), victims.uids())).collect();
    let (kept, trouble) = {
        let mut ledger = placements.lock();
        let trouble = ledger.not_ready().as_ref().map(reason);
        (ledger.preempt(&ask, &candidates, now), trouble)
    };
    // A candidate without victims is a question for some, which we do not offer; giving it back as
    // it came is an error to the scheduler.
    let with_victims = |at: &usize| !candidates[*at].1.is_empty();
    let all = || (0..offered.len()).filter(with_victims).collect::<Vec<_>>();
    let mut instead = BTreeMap::new();
    let (kept, outcome) = match (kept, trouble, mode) {
        (None, ..) => (all(), "pass"),
        (Some(_), Some(trouble), Mode::Open) => {
            fail_open(trouble, instruments);
            (all(), "fail-open")
        }
        (Some(verdict), ..) => {
            instead = verdict.instead;
            let kept: Vec<usize> = verdict
                .kept
                .into_iter()
                .map(|at| at as usize)
                .filter(|at| *at < offered.len() && with_victims(at))
                .collect();
            let outcome = if kept.is_empty() { "vetoed" } else { "allowed" };
            (kept, outcome)
        }
    };
    let kept = kept.into_iter().map(|at| (&offered[at], instead.remove(&(at as u32))));
    let victims = Kept(kept.collect());
    Answer::json(outcome, &PreemptResult { victims })
}
