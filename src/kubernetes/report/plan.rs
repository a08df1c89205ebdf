//! What to write after a decision, given what was written before. Pure.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::conditions::{
    BORROWING, Declared, Finding, INVALID_SPEC, READY, borrowing, declared, find, ready,
};
use super::placing::Placing;
use crate::cluster::App;
use crate::cluster::AppId;
use crate::cluster::Refusal;
use crate::cluster::Snapshot;
use crate::cluster::Timestamp;
use crate::kubernetes::Condition;
use crate::kubernetes::DomainObject;
use crate::kubernetes::DomainStatus;
use crate::kubernetes::Ownership;
use crate::kubernetes::PlacementStatus;
use crate::kubernetes::TARGET_CPU;
use crate::placement;
use crate::safety::AppDecision;
use crate::safety::Decision;

/// Seconds that a measured change must last before it is believed: longer than one decision.
const SETTLE_SECONDS: f64 = 15.0;
/// Seconds between two statuses of a domain that differ in their use of the pools.
const PLACEMENT_SECONDS: f64 = 15.0;
/// Seconds before the same is said of the same HPA again.
const REPEAT_SECONDS: f64 = 3600.0;
/// Events about HPAs per second, however many HPAs there are.
const EVENTS_PER_SECOND: f64 = 5.0;
/// Events about HPAs at once: what comes in over one decision interval.
const EVENTS_AT_ONCE: f64 = 50.0;

/// What is known at the time of writing.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) domains: Vec<DomainObject>,
    pub(super) ownership: Ownership,
    pub(super) bad_annotations: Vec<(AppId, String)>,
    /// Time between the last two reads of each HPA.
    pub(super) read_intervals: HashMap<AppId, Duration>,
    pub(super) snapshot: Snapshot,
    /// Domains of which pods were refused a place lately; `None` where placement is not ours.
    pub(super) refused: Option<Vec<placement::Refusal>>,
    /// How the domains share the node pools; `None` while this replica does not own the ledger.
    pub(super) placing: Option<Placing>,
}

/// What an Event speaks of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum About {
    Domain { name: String, uid: String },
    Hpa(AppId),
    ApiService { uid: String },
}

/// One Event to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Note {
    pub(super) about: About,
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) text: String,
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    /// The status of a Domain, and the Events of what changed in it.
    Status { domain: String, status: DomainStatus, notes: Vec<Note> },
    /// An Event by itself.
    Event(Note),
}

impl fmt::Display for Write {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { domain, .. } => write!(out, "status of Domain {domain}"),
            Self::Event(note) => match &note.about {
                About::Domain { name, .. } => write!(out, "Event {} on Domain {name}", note.reason),
                About::Hpa(id) => write!(out, "Event {} on HPA {id}", note.reason),
                About::ApiService { .. } => write!(out, "Event {} on the APIService", note.reason),
            },
        }
    }
}

/// Remembers what was written.
#[derive(Debug, Default)]
pub(super) struct Planner {
    epoch: Option<u64>,
    /// The status last written for each Domain, with the Domain's identity.
    written: HashMap<String, (String, DomainStatus)>,
    /// When the use of the pools was last written for each Domain.
    placed: HashMap<String, Timestamp>,
    /// Changes that are not believed yet: status, reason, and since when.
    unsettled: HashMap<(String, &'static str), (&'static str, &'static str, Timestamp)>,
    said: HashMap<(AppId, &'static str), Timestamp>,
    allowance: Option<(f64, Timestamp)>,
    /// The foreign Service last complained about.
    usurper: Option<String>,
}

impl Planner {
    /// What to write now. It counts as written, unless [`Self::undo`] says otherwise.
    pub(super) fn plan(&mut self, decision: &Decision, known: &Known) -> Vec<Write> {
        let at = decision.at;
        if self.epoch.replace(decision.epoch) != Some(decision.epoch) {
            // Another replica may have written in between: the objects know better than we do.
            self.written.clear();
            self.placed.clear();
            self.unsettled.clear();
        }
        let mut writes = Vec::new();
        for object in &known.domains {
            writes.extend(self.domain(object, decision, known, at));
        }
        writes.extend(self.ownership(&known.ownership));
        self.said.retain(|_, when| at.seconds_since(*when) < REPEAT_SECONDS);
        for note in hpa_notes(decision, known) {
            if !self.may_say(&note, at) {
                continue;
            }
            if !self.spend(at) {
                break;
            }
            if let About::Hpa(id) = &note.about {
                self.said.insert((id.clone(), note.reason), at);
            }
            writes.push(Write::Event(note));
        }
        writes
    }

    /// It could not be written: it is to be tried again with the next decision.
    pub(super) fn undo(&mut self, write: &Write) {
        match write {
            Write::Status { domain, .. } => {
                self.written.remove(domain);
                self.placed.remove(domain);
            }
            Write::Event(Note { about: About::Hpa(id), reason, .. }) => {
                self.said.remove(&(id.clone(), *reason));
            }
            Write::Event(_) => self.usurper = None,
        }
    }

    fn domain(
        &mut self,
        object: &DomainObject,
        decision: &Decision,
        known: &Known,
        at: Timestamp,
    ) -> Option<Write> {
        let index = decision
            .catalog
            .domains
            .iter()
            .position(|domain| domain.name == object.name)
            .filter(|_| object.problem.is_none());
        if index.is_none() && object.problem.is_none() {
            // Newer than the decision.
            return None;
        }
        let apps = decision.catalog.apps.iter().filter(|app| Some(app.domain) == index).count();
        let previous = match self.written.get(&object.name) {
            Some((uid, status)) if *uid == object.uid => status.clone(),
            _ => DomainStatus {
                observed_generation: object.generation,
                apps: object.apps,
                placement: object.placement.clone(),
                conditions: object.conditions.clone(),
            },
        };
        let mut conditions = Vec::new();
        let mut notes = Vec::new();
        for finding in
            find(object, decision, index, &known.read_intervals, known.refused.as_deref())
        {
            self.settle(object, &previous, finding, at, &mut conditions, &mut notes);
        }
        let limit = previous.conditions.iter().find(|one| one.type_ == BORROWING);
        let figures = known.placing.as_ref().and_then(|placing| placing.of_domain(&object.name));
        match figures.filter(|own| index.is_some() && (own.limited || limit.is_some())) {
            Some(own) => {
                let finding = borrowing(own);
                self.settle(object, &previous, finding, at, &mut conditions, &mut notes);
            }
            // Not known just now.
            None => conditions.extend(limit.filter(|_| known.refused.is_some()).cloned()),
        }
        let others: Vec<(&str, &str, &str, &str)> = conditions
            .iter()
            .map(|one| (&*one.type_, &*one.status, &*one.reason, &*one.message))
            .collect();
        let summary = ready(object, apps, &others);
        self.settle(object, &previous, summary, at, &mut conditions, &mut notes);
        for declared in index.map(|index| declared(decision, index)).into_iter().flatten() {
            declare(object, &previous, declared, at, &mut conditions, &mut notes);
        }

        let placement = self.placement(object, &previous, known, at);
        let status = DomainStatus {
            observed_generation: object.generation,
            placement,
            apps: Some(i32::try_from(apps).unwrap_or(i32::MAX)),
            conditions,
        };
        if same(&status, &previous) {
            return None;
        }
        self.written.insert(object.name.clone(), (object.uid.clone(), status.clone()));
        Some(Write::Status { domain: object.name.clone(), status, notes })
    }

    /// The use of the pools to state: that of now, once it has moved and some time has passed.
    fn placement(
        &mut self,
        object: &DomainObject,
        previous: &DomainStatus,
        known: &Known,
        at: Timestamp,
    ) -> Option<PlacementStatus> {
        // Where placement is not ours, there is nothing to state.
        known.refused.as_ref()?;
        let old = previous.placement.clone();
        let Some(placing) = &known.placing else { return old };
        let Some(now) = placing.of_domain(&object.name) else { return old };
        let new = now.status();
        let just_told = |since: &Timestamp| at.seconds_since(*since) < PLACEMENT_SECONDS;
        let early = self.placed.get(&object.name).is_some_and(just_told);
        if old.as_ref().is_some_and(|old| early || !placing.moved(old, &new)) {
            return old;
        }
        self.placed.insert(object.name.clone(), at);
        Some(new)
    }

    /// Turns a finding into a condition, or keeps the previous one while the change may pass.
    fn settle(
        &mut self,
        object: &DomainObject,
        previous: &DomainStatus,
        finding: Finding,
        at: Timestamp,
        conditions: &mut Vec<Condition>,
        notes: &mut Vec<Note>,
    ) {
        let old = previous.conditions.iter().find(|one| one.type_ == finding.type_);
        let key = (object.name.clone(), finding.type_);
        if let Some(old) = old {
            let unchanged = old.status == finding.status() && old.reason == finding.reason;
            if unchanged {
                self.unsettled.remove(&key);
                let observed_generation = object.generation;
                conditions.push(Condition { observed_generation, ..old.clone() });
                return;
            }
            if old.status != "Unknown" && !finding.at_once && !self.lasted(&key, &finding, at) {
                conditions.push(old.clone());
                return;
            }
        }
        self.unsettled.remove(&key);
        let changed = old.is_none_or(|old| old.status != finding.status());
        let news = match finding.holds {
            Some(false) => true,
            // Good news is news only after bad news.
            Some(true) => old.is_some_and(|old| old.status == "False"),
            None => false,
        };
        // The summary repeats what another condition says, but for a spec that makes no sense.
        if news && (finding.type_ != READY || finding.reason == INVALID_SPEC) {
            notes.push(Note {
                about: About::Domain { name: object.name.clone(), uid: object.uid.clone() },
                warning: finding.holds == Some(false),
                reason: finding.reason,
                text: finding.message.clone(),
            });
        }
        let last_transition_time = match old {
            Some(old) if !changed => old.last_transition_time.clone(),
            _ => whole_seconds(at),
        };
        conditions.push(Condition {
            type_: finding.type_.to_owned(),
            status: finding.status().to_owned(),
            reason: finding.reason.to_owned(),
            message: finding.message,
            last_transition_time,
            observed_generation: object.generation,
        });
    }

    /// Whether a measured change has lasted long enough.
    fn lasted(&mut self, key: &(String, &'static str), finding: &Finding, at: Timestamp) -> bool {
        let wanted = (finding.status(), finding.reason);
        match self.unsettled.get(key) {
            Some((status, reason, since)) if (*status, *reason) == wanted => {
                at.seconds_since(*since) >= SETTLE_SECONDS
            }
            _ => {
                self.unsettled.insert(key.clone(), (wanted.0, wanted.1, at));
                false
            }
        }
    }

    fn ownership(&mut self, ownership: &Ownership) -> Option<Write> {
        let Ownership::Other { service, uid } = ownership else {
            self.usurper = None;
            return None;
        };
        if self.usurper.replace(service.clone()).as_ref() == Some(service) {
            return None;
        }
        Some(Write::Event(Note {
            about: About::ApiService { uid: uid.clone() },
            warning: true,
            reason: "MetricOwnershipLost",
            text: format!(
                "The APIService of external metrics points at Service {service}, not at hirl: HPAs \
                 that read our metric get no number. hirl does not take it back by itself"
            ),
        }))
    }

    fn may_say(&self, note: &Note, at: Timestamp) -> bool {
        let About::Hpa(id) = &note.about else {
            return true;
        };
        self.said
            .get(&(id.clone(), note.reason))
            .is_none_or(|when| at.seconds_since(*when) >= REPEAT_SECONDS)
    }

    /// Takes one Event from the allowance; false when it is used up.
    fn spend(&mut self, at: Timestamp) -> bool {
        let (left, since) = self.allowance.unwrap_or((EVENTS_AT_ONCE, at));
        let earned = at.seconds_since(since).max(0.0) * EVENTS_PER_SECOND;
        let left = (left + earned).min(EVENTS_AT_ONCE);
        let enough = left >= 1.0;
        self.allowance = Some((if enough { left - 1.0 } else { left }, at));
        enough
    }
}

/// Turns what an operator declared into a condition. It is told when it begins, when it is
/// declared in other words and when it ends; a domain for which nothing was ever declared has no
/// such condition.
fn declare(
    object: &DomainObject,
    previous: &DomainStatus,
    declared: Declared,
    at: Timestamp,
    conditions: &mut Vec<Condition>,
    notes: &mut Vec<Note>,
) {
    let old = previous.conditions.iter().find(|one| one.type_ == declared.type_);
    let held = old.filter(|old| old.status == "True");
    let observed_generation = object.generation;
    let [begun, ended] = declared.reasons;
    let (status, reason, message) = match declared.holds {
        Some(message) => ("True", begun, message),
        None if held.is_some() => ("False", ended, declared.ended.to_owned()),
        None => {
            conditions.extend(old.map(|old| Condition { observed_generation, ..old.clone() }));
            return;
        }
    };
    if let Some(same) = old.filter(|old| old.status == status && old.message == message) {
        conditions.push(Condition { observed_generation, ..same.clone() });
        return;
    }
    notes.push(Note {
        about: About::Domain { name: object.name.clone(), uid: object.uid.clone() },
        warning: declared.warning && status == "True",
        reason,
        text: match held.filter(|_| status == "False") {
            // Whoever reads that it ended wants to know what ended.
            Some(held) => format!("{message}; ended: {}", held.message),
            None => message.clone(),
        },
    });
    let last_transition_time = match old.filter(|old| old.status == status) {
        Some(old) => old.last_transition_time.clone(),
        None => whole_seconds(at),
    };
    conditions.push(Condition {
        type_: declared.type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time,
        observed_generation,
    });
}

/// As the API server keeps an instant.
fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_millis(at.as_millis() / 1000 * 1000).to_string()
}

/// Whether nothing needs to be written. The order of conditions does not matter.
fn same(new: &DomainStatus, old: &DomainStatus) -> bool {
    new.observed_generation == old.observed_generation
        && new.apps == old.apps
        && new.placement == old.placement
        && new.conditions.iter().all(|one| old.conditions.contains(one))
}

/// What there is to say about single HPAs.
fn hpa_notes(decision: &Decision, known: &Known) -> Vec<Note> {
    let mut notes = Vec::new();
    for (app, decided) in decision.catalog.apps.iter().zip(&decision.apps) {
        if let Some(refusal) = &app.refusal {
            notes.push(Note {
                about: About::Hpa(app.id.clone()),
                // Switching an HPA off is somebody's right, not a fault.
                warning: *refusal != Refusal::Disabled,
                reason: refusal.reason(),
                text: format!("No number is served: {refusal}"),
            });
        } else if decided.lost_to_tolerance {
            notes.extend(lost_to_tolerance(app, decided, &known.snapshot));
        }
    }
    for (id, text) in &known.bad_annotations {
        notes.push(Note {
            about: About::Hpa(id.clone()),
            warning: true,
            reason: "TargetCpuInvalid",
            text: format!(
                "Annotation {TARGET_CPU} is {text:?}, not a percentage from 1 to 100: the default is used"
            ),
        });
    }
    notes
}

/// With the count of now: `None` when the HPA no longer ignores the number.
fn lost_to_tolerance(app: &App, decided: &AppDecision, now: &Snapshot) -> Option<Note> {
    let wanted = decided.replicas?;
    let index = now.catalog.apps.binary_search_by(|one| one.id.cmp(&app.id)).ok()?;
    let present = now.apps[index].status_replicas;
    let (low, high) = (1.0 - app.tolerance_down, 1.0 + app.tolerance_up);
    let ratio = f64::from(wanted) / f64::from(present);
    if wanted == present || !(low..=high).contains(&ratio) {
        return None;
    }
    Some(Note {
        about: About::Hpa(app.id.clone()),
        warning: false,
        reason: "LostToTolerance",
        text: format!(
            "{wanted} replicas are wanted of {present}, but {wanted}/{present} = {ratio:.3} lies within \
             the HPA's tolerance ({low:.3} to {high:.3}), so it stays as it is. Set \
             behavior.scaleUp.tolerance and behavior.scaleDown.tolerance to \"0\" (Kubernetes 1.35 or newer)"
        ),
    })
}
