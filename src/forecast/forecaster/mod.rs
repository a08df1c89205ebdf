//! One forecaster for all domains, asked once a minute: the learned network where it can be believed,
//! and what stands below it where not.
//!
//! The chain of a domain is model -> level times seven-day profile -> exponential smoothing -> nothing, and
//! whoever steps down says why. Each source is scored in every minute, used or not, and corrected by its own
//! errors; what is wrong with one domain stays there. Pure: time is an argument, and the network can be asked
//! on another thread ([`Forecaster::question`], [`Forecaster::conclude`]).

mod checks;
mod fallback;
mod recorder;
mod track;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::recorder::{Recorder, minute_of};
use self::track::{SOURCES, Track};
use super::calendar::Calendar;
use super::calibration::{Group, HORIZONS, LONGEST, Quantiles};
use super::history::{DAY, History, Minute};
use super::regime::regime;
use super::slice::Slice;
use super::usual::usual_at;
use crate::cluster::{Class, Forecast, ForecastSource, Outlook, Timestamp};

/// Without traffic seen in so many minutes there is no forecast.
const SILENT: usize = 3;

/// What the regime is judged by: the last day, and a little before it.
const JUDGED: usize = DAY + 60;

/// Outcomes (in minutes of forecasts) below which a share of them says nothing.
const LEAST_COVERED: f64 = 180.0;

/// Something that has learned to forecast.
pub trait QuantileModel: Send + Sync {
    /// Quantiles of the traffic of each series, in requests per second, or why there are none. `history`
    /// ends with the minute `origin`; a horizon of `h` minutes means the mean of the minute `origin + h`.
    /// `calendar` says what is known of the minutes after it. One result per series, in their order.
    fn quantiles(
        &self,
        history: &History,
        calendar: &Calendar,
        origin: Minute,
    ) -> Vec<Result<Quantiles, Refused>>;
}

/// Why a model does not forecast a series, as the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What a model says: per series; or why it says nothing at all.
pub type Answers = Result<Vec<Result<Quantiles, Refused>>, Refused>;

/// A question to the model, ready to be asked elsewhere.
#[derive(Clone)]
pub struct Question {
    model: Arc<dyn QuantileModel>,
    history: History,
    calendar: Arc<Calendar>,
    origin: Minute,
}

impl Question {
    /// Asks it. This is what takes time, and what may panic if the model is broken.
    #[must_use]
    pub fn ask(&self) -> Vec<Result<Quantiles, Refused>> {
        self.model.quantiles(&self.history, &self.calendar, self.origin)
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Question").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What was learned of each source's errors, by the name of the domain: what outlives a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    domains: BTreeMap<String, Track>,
}

/// How often traffic stayed at or below a quantile of the source in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Covered {
    /// A slice of the day, or spikes; `None` for all together.
    pub group: Option<Group>,
    /// Place in [`Forecast::QUANTILES`].
    pub quantile: usize,
    /// Share of the outcomes of all horizons, 0 to 1; the quantile's level is right.
    pub share: f64,
}

/// The forecaster of all domains.
#[derive(Clone)]
pub struct Forecaster {
    calendar: Arc<Calendar>,
    model: Option<Arc<dyn QuantileModel>>,
    recorder: Recorder,
    tracks: Vec<Track>,
    /// The source in use, per domain.
    used: Vec<ForecastSource>,
    /// What was learned of domains that are not there now.
    away: BTreeMap<String, Track>,
}

impl fmt::Debug for Forecaster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Forecaster")
            .field("model", &self.model.is_some())
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

impl Forecaster {
    /// A forecaster of these domains without experience. Without a model its best source is the profile.
    #[must_use]
    pub fn new(
        domains: &[(String, Class)],
        calendar: Calendar,
        model: Option<Arc<dyn QuantileModel>>,
    ) -> Self {
        Self {
            calendar: Arc::new(calendar),
            model,
            recorder: Recorder::new(domains),
            tracks: vec![Track::default(); domains.len()],
            used: vec![ForecastSource::None; domains.len()],
            away: BTreeMap::new(),
        }
    }

    /// Whether these are its domains, in this order.
    #[must_use]
    pub fn is_of(&self, domains: &[(String, Class)]) -> bool {
        let series = &self.recorder.history().series;
        series.len() == domains.len()
            && series
                .iter()
                .zip(domains)
                .all(|(series, (name, class))| series.name == *name && series.class == *class)
    }

    /// Takes in who there is now. What is known of those that stay is kept.
    pub fn align(&mut self, domains: &[(String, Class)]) {
        if self.is_of(domains) {
            return;
        }
        let names = self.recorder.history().series.iter().map(|series| series.name.clone());
        self.away.extend(names.zip(std::mem::take(&mut self.tracks)));
        self.recorder.align(domains);
        self.tracks =
            domains.iter().map(|(name, _)| self.away.remove(name).unwrap_or_default()).collect();
        self.used = vec![ForecastSource::None; domains.len()];
    }

    /// Fills what is not known of the past. What was observed stays; beyond 8 days nothing is kept.
    pub fn seed_history(&mut self, past: &History) {
        self.recorder.fill(past);
    }

    /// The traffic that it knows of, by the minute. The newest minutes are not over.
    #[must_use]
    pub fn history(&self) -> &History {
        self.recorder.history()
    }

    /// Takes in what a snapshot of `at` shows of each domain: when it was measured, and requests per second.
    pub fn observe(&mut self, at: Timestamp, rps: &[Option<(Timestamp, f64)>]) {
        self.recorder.observe(at, rps);
    }

    /// What to ask the model at `now`; `None` without one.
    #[must_use]
    pub fn question(&self, now: Timestamp) -> Option<Question> {
        let model = Arc::clone(self.model.as_ref()?);
        let origin = origin(now);
        let history = self.recorder.until(origin);
        (history.minutes() > 0 && history.end() == origin + 1).then(|| Question {
            model,
            history,
            calendar: Arc::clone(&self.calendar),
            origin,
        })
    }

    /// What is expected at `now`, per domain: [`Self::question`], its answer and [`Self::conclude`] in a row.
    pub fn forecast(&mut self, now: Timestamp) -> Vec<Outlook> {
        self.recorder.reach(minute_of(now));
        let answers = self.question(now).map(|question| Ok(question.ask()));
        self.conclude(now, answers.as_ref())
    }

    /// What is expected at `now`, given what the model said to [`Self::question`] of the same instant;
    /// `None` when it was not asked. To be called once a minute.
    pub fn conclude(&mut self, now: Timestamp, answers: Option<&Answers>) -> Vec<Outlook> {
        self.recorder.reach(minute_of(now));
        let origin = origin(now);
        let configured = self.model.is_some();
        let minutes = self.recorder.known(origin);
        let series = &self.recorder.history().series;
        let mut outlooks = Vec::with_capacity(self.tracks.len());
        for (index, (series, track)) in series.iter().zip(&mut self.tracks).enumerate() {
            let rps = &series.rps[..minutes];
            let view = View::new(&series.name, rps, &self.calendar, origin);
            track.teach(rps, origin);
            let model = configured.then(|| answer(answers, index, rps));
            outlooks.push(look(now, &view, model, track));
        }
        self.used = outlooks.iter().map(|outlook| outlook.source).collect();
        outlooks
    }

    /// How often traffic stayed at or below the quantiles of the source in use, per domain and group; nothing
    /// of a group that has seen too little.
    #[must_use]
    pub fn covered(&self, domain: usize) -> Vec<Covered> {
        let Some(track) = self.tracks.get(domain) else { return Vec::new() };
        let used = SOURCES.iter().position(|source| *source == self.used[domain]);
        let Some(coverage) = used.map(|used| track.calibration(used).coverage()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for group in Group::all().map(Some).chain([None]) {
            for quantile in 0..Forecast::QUANTILES.len() {
                let of = |horizon| match group {
                    Some(group) => coverage.of(group, horizon, quantile),
                    None => coverage.overall(horizon, quantile),
                };
                let seen = (0..HORIZONS).filter_map(of).filter(|it| it.minutes >= LEAST_COVERED);
                let (sum, count) = seen.fold((0.0, 0.0), |(sum, n), it| (sum + it.share, n + 1.0));
                if count > 0.0 {
                    found.push(Covered { group, quantile, share: 1.0 - sum / count });
                }
            }
        }
        found
    }

    /// What outlives a restart.
    #[must_use]
    pub fn state(&self) -> State {
        let names = self.recorder.history().series.iter().map(|series| series.name.clone());
        let mut domains = self.away.clone();
        domains.extend(names.zip(self.tracks.iter().cloned()));
        State { domains }
    }

    /// Takes up what was learned before.
    pub fn restore(&mut self, state: State) {
        self.away = state.domains;
        for (series, track) in self.recorder.history().series.iter().zip(&mut self.tracks) {
            if let Some(known) = self.away.remove(&series.name) {
                *track = known;
            }
        }
    }
}

/// The last minute that is over at `now`.
fn origin(now: Timestamp) -> Minute {
    minute_of(now) - 1
}

/// What the model says of one series that it may be asked about.
fn answer(answers: Option<&Answers>, index: usize, rps: &[f32]) -> Result<Quantiles, String> {
    checks::input(rps)?;
    let answers = answers.ok_or("it was not asked")?;
    let answers = answers.as_ref().map_err(ToString::to_string)?;
    let answer = answers.get(index).ok_or("it did not answer for this domain")?;
    let quantiles = answer.as_ref().map_err(ToString::to_string)?;
    checks::output(quantiles)?;
    Ok(*quantiles)
}

/// One domain as it is at the origin.
struct View {
    origin: Minute,
    slice: Slice,
    regime: super::slice::Regime,
    /// The smoothed level, and that over what is usual.
    level: Option<(f64, Option<f64>)>,
    /// What is usual in the minutes after the origin.
    ahead: Vec<f32>,
}

impl View {
    /// `rps` ends with `origin`.
    fn new(name: &str, rps: &[f32], calendar: &Calendar, origin: Minute) -> Self {
        let from = rps.len().saturating_sub(JUDGED);
        let judged = &rps[from..];
        let usual: Vec<f32> =
            (from..rps.len() + LONGEST as usize).map(|minute| usual_at(rps, minute)).collect();
        let (expected, ahead) = usual.split_at(judged.len());
        let start = origin + 1 - judged.len() as Minute;
        let flags = calendar.flags(name, start, judged.len() + LONGEST as usize);
        let last = judged.len().saturating_sub(1);
        let seen = rps.iter().rev().take(SILENT).any(|value| value.is_finite());
        Self {
            origin,
            slice: Slice::of(flags.get(last).map_or(0, |flags| flags.minute_of_day)),
            regime: regime(judged, expected, &flags, last),
            level: seen.then(|| fallback::level(judged, expected)).flatten(),
            ahead: ahead.to_vec(),
        }
    }
}

/// The outlook of one domain: the best source that is there and trusted. `model` is `None` without one.
fn look(
    now: Timestamp,
    view: &View,
    model: Option<Result<Quantiles, String>>,
    track: &mut Track,
) -> Outlook {
    let Some((level, ratio)) = view.level else {
        let why = format!("no traffic has been measured in the last {SILENT} minutes");
        return Outlook { why: Some(why), ..Outlook::default() };
    };
    let seasonal = fallback::seasonal(ratio, &view.ahead);
    let offers = [model, Some(seasonal), Some(Ok(fallback::smoothing(level)))];
    let mut chosen: Option<(ForecastSource, Quantiles)> = None;
    let mut why = None;
    for (place, (source, offer)) in SOURCES.into_iter().zip(offers).enumerate() {
        let Some(offer) = offer else { continue };
        // Every source is scored, so that one that is not used can show that it is better.
        let issued =
            offer.map(|raw| track.issue(place, &raw, view.origin, (view.slice, view.regime)));
        let last = source == ForecastSource::Smoothing;
        let doubt = match issued {
            Ok((quantiles, doubt)) if doubt.is_none() || last => {
                chosen = chosen.or(Some((source, quantiles)));
                continue;
            }
            Ok((_, doubt)) => doubt.unwrap_or_default(),
            Err(refusal) => refusal,
        };
        if chosen.is_none() && why.is_none() {
            why = Some(format!("{} is not used: {doubt}", title(source)));
        }
    }
    let Some((source, ahead)) = chosen else { return Outlook { why, ..Outlook::default() } };
    Outlook { forecast: Some(Forecast { at: now, level, ahead }), source, why }
}

/// The name in sentences.
const fn title(source: ForecastSource) -> &'static str {
    match source {
        ForecastSource::Model => "the learned model",
        ForecastSource::SeasonalProfile => "the seasonal profile",
        ForecastSource::Smoothing => "smoothing",
        ForecastSource::None => "nothing",
    }
}

#[cfg(test)]
mod tests;
