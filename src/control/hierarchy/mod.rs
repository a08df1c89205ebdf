//! The learned policy while it serves: asked on a thread of its own that may be late, or panic, and swapped
//! for other weights without a restart. Whatever goes wrong here, the rule decides in the same decision.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::instruments::{Instruments, OutcomeLabel, WeightsLabel};
use crate::policy::hirl::{Actor, Command, CommanderView, Model, Orders, SoldierView};
use crate::policy::rules;

/// Where the weights come from, and how long they may think.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Settings {
    /// Whether the learned hierarchy plans, in the domains whose `policy` is `hirl`; otherwise the rule does.
    /// Off: under the rule of placement the built-in weights miss a gate of their stage (`weights/gates.yaml`,
    /// `hirl train gate --stage commander`: 1.001 of the rule's cost at 1,550 apps).
    pub enabled: bool,
    /// Weights to use instead of the built-in ones (safetensors, by `hirl train policy`). Read again when
    /// their bytes change; bytes that cannot be used never replace weights that can.
    pub weights_file: Option<PathBuf>,
    /// How often that file is looked at, in seconds.
    pub reload_seconds: f64,
    /// How long the networks may take over one question, in seconds; then the rule answers it.
    pub limit_seconds: f64,
    /// How many times faster than life the cluster runs: 1, but in demonstrations and tests that are compressed in time.
    /// The networks know by heart how long pods, nodes and HPAs take.
    pub time_scale: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            weights_file: None,
            reload_seconds: 10.0,
            limit_seconds: 0.5,
            time_scale: 1.0,
        }
    }
}

impl Settings {
    /// One sentence that says what is wrong, if anything is.
    pub fn validate(&self) -> Result<(), String> {
        for (name, value, low, high) in [
            ("reloadSeconds", self.reload_seconds, 0.01, 3600.0),
            ("limitSeconds", self.limit_seconds, 0.01, 3600.0),
            ("timeScale", self.time_scale, 1.0, 100.0),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!("hierarchy.{name} must be {low} to {high}, not {value}"));
            }
        }
        Ok(())
    }

    /// The weights to begin with; none where the rule is to plan. `Err` is one sentence: who named a file
    /// wants what is in it.
    pub fn model(&self) -> Result<Option<Arc<Model>>, String> {
        let model = match &self.weights_file {
            _ if !self.enabled => return Ok(None),
            Some(path) => read(path)
                .and_then(|bytes| parsed(&bytes))
                .map_err(|error| format!("hierarchy.weightsFile {}: {error}", path.display()))?,
            None => Model::builtin().map_err(|error| format!("the built-in weights: {error}"))?,
        };
        Ok(Some(Arc::new(model)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| error.to_string())
}

fn parsed(bytes: &[u8]) -> Result<Model, String> {
    let model = Model::from_bytes(bytes).map_err(|error| error.to_string())?;
    match model.ablation() {
        Some(ablation) => {
            Err(format!("they are of an ablation ({ablation}), which does not serve"))
        }
        None => Ok(model),
    }
}

/// The constants of the rule: those that the weights were trained on top of (the built-in ones where none
/// plan), which were searched, unless the operator wrote some. What is written down wins.
#[must_use]
pub fn rule(model: Option<&Model>, written: &rules::Settings) -> rules::Settings {
    if *written != rules::Settings::default() {
        return written.clone();
    }
    // A test loads the built-in ones.
    let built_in = || Model::builtin().ok()?.rule().cloned();
    let searched = model.map_or_else(built_in, |model| model.rule().cloned());
    searched.unwrap_or_else(|| written.clone())
}

/// Reads the file anew whenever its bytes change, until `stop`.
pub async fn reload(
    settings: Settings,
    weights: watch::Sender<Arc<Model>>,
    instruments: Arc<Instruments>,
    stop: CancellationToken,
) {
    tell(&instruments, &weights.borrow());
    let Some(path) = settings.weights_file else { return stop.cancelled().await };
    let mut looks = tokio::time::interval(Duration::from_secs_f64(settings.reload_seconds));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The file may have changed since it was read for the start.
    let mut seen = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let found = read(&path);
        if seen.as_ref() == Some(&found) {
            continue;
        }
        let new = found.as_deref().map_err(String::clone).and_then(parsed).and_then(|model| {
            let before = weights.borrow().rule().cloned();
            if model.rule().cloned() == before {
                Ok(model)
            } else {
                Err("they were trained on top of other constants of the rule: restart hirl to use them".to_owned())
            }
        });
        seen = Some(found);
        let outcome = match new {
            Ok(model) if model.id() == weights.borrow().id() => continue,
            Ok(model) => {
                info!(weights = ?model.id(), "Other weights plan from now on");
                weights.send_replace(Arc::new(model));
                tell(&instruments, &weights.borrow());
                "ok"
            }
            Err(error) => {
                warn!(%error, path = %path.display(), "The weights are not used; those before go on");
                "refused"
            }
        };
        instruments.weights_reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

fn tell(instruments: &Instruments, model: &Model) {
    instruments.policy_weights.clear();
    let weights = model.id().map_or_else(|| "untrained".to_owned(), ToString::to_string);
    instruments.policy_weights.get_or_create(&WeightsLabel { weights }).set(1);
}

enum Question {
    Command(CommanderView, SyncSender<Option<Vec<Command>>>),
    Order(Vec<SoldierView>, SyncSender<Vec<Option<Orders>>>),
}

/// Asks the networks on their thread, and waits no longer than the limit.
pub struct Networks<A = Arc<Model>> {
    weights: watch::Receiver<A>,
    limit: Duration,
    instruments: Arc<Instruments>,
    questions: Option<SyncSender<Question>>,
}

impl<A> std::fmt::Debug for Networks<A> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Networks").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<A: Actor + Clone + Sync + 'static> Networks<A> {
    /// Whatever is in `weights` answers.
    #[must_use]
    pub const fn new(
        weights: watch::Receiver<A>,
        settings: &Settings,
        instruments: Arc<Instruments>,
    ) -> Self {
        let limit = Duration::from_millis((settings.limit_seconds * 1000.0) as u64);
        Self { weights, limit, instruments, questions: None }
    }

    fn fault(&self, outcome: &'static str) {
        self.instruments.policy_faults.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// The thread; a new one where the last one panicked.
    fn thread(&mut self) -> Option<&SyncSender<Question>> {
        if self.questions.is_none() {
            let (questions, asked) = mpsc::sync_channel(1);
            let weights = self.weights.clone();
            let answer = move || {
                for question in asked {
                    let mut model = weights.borrow().clone();
                    // Who does not wait any more has decided without.
                    match question {
                        Question::Command(view, to) => drop(to.try_send(model.command(&view))),
                        Question::Order(views, to) => drop(to.try_send(model.order(&views))),
                    }
                }
            };
            let started = std::thread::Builder::new().name("hirl-policy".to_owned()).spawn(answer);
            if let Err(error) = &started {
                warn!(%error, "The networks have no thread: the rule decides");
                self.fault("thread");
            }
            self.questions = started.ok().map(|_| questions);
        }
        self.questions.as_ref()
    }

    fn ask<T>(&mut self, question: impl FnOnce(SyncSender<T>) -> Question) -> Option<T> {
        let (to, answer) = mpsc::sync_channel(1);
        let limit = self.limit;
        let sent = self.thread()?.try_send(question(to));
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.fault("late");
                return None;
            }
            Err(TrySendError::Disconnected(_)) => {
                self.questions = None;
                self.fault("panic");
                return None;
            }
        }
        match answer.recv_timeout(limit) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => {
                self.fault("late");
                None
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.questions = None;
                self.fault("panic");
                None
            }
        }
    }
}

impl<A: Actor + Clone + Sync + 'static> Actor for Networks<A> {
    fn command(&mut self, view: &CommanderView) -> Option<Vec<Command>> {
        let said = self.ask(|to| Question::Command(view.clone(), to))?;
        if said.as_ref().is_none_or(|said| said.iter().any(|said| !said.is_finite())) {
            self.fault("not_finite");
        }
        said
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        let said = self.ask(|to| Question::Order(views.to_vec(), to)).unwrap_or_default();
        for orders in &said {
            if orders.as_ref().is_none_or(|orders| !orders.is_finite()) {
                self.fault("not_finite");
            }
        }
        said
    }

    fn weights(&self) -> Option<Arc<str>> {
        self.weights.borrow().weights()
    }
}

#[cfg(test)]
mod tests;
