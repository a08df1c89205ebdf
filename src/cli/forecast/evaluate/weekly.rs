//! The network with a head that is fine-tuned before each week, as somebody would who keeps it up to date.

use serde::Serialize;

use super::Plan;
use crate::cli::train::head::{Tuned, Tuning, WEEK, tuned};
use crate::forecast::accuracy::QuantileForecaster;
use crate::forecast::{
    Calendar, DAY, History, Minute, Model, ModelForecaster, Prepared, Quantiles, Series,
};

/// Two weeks to learn from and to judge by, and one to forecast.
const LEAST_WEEKS: Minute = 3;

/// The heads of one file.
#[derive(Debug)]
pub(super) struct Weekly {
    /// The networks that were accepted and the first minute of each, rising.
    kept: Vec<(Minute, Model)>,
    pub(super) told: Told,
}

/// What came of the weeks of one file.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Told {
    /// How many weeks a fine-tune went before, and before how many of them it was accepted.
    Weeks { weeks: usize, accepted: usize },
    /// Why there are none.
    None { none: String },
}

impl Weekly {
    /// Fine-tunes before each week from the first day that counts on: on everything before the week, from the
    /// network that stands then. One that is not accepted leaves that network in its place.
    pub(super) fn of(
        model: &Model,
        history: &History,
        calendar: &Calendar,
        plan: Plan,
        tuning: Tuning,
    ) -> anyhow::Result<Self> {
        let days = history.minutes() as f64 / DAY as f64;
        let nothing = |none| Ok(Self { kept: Vec::new(), told: Told::None { none } });
        if (history.minutes() as Minute) < LEAST_WEEKS * WEEK {
            return nothing(format!(
                "{days:.1} days are too short for a weekly fine-tune: {LEAST_WEEKS} weeks are needed"
            ));
        }
        let (mut kept, mut weeks) = (Vec::<(Minute, Model)>::new(), 0);
        let first = history.start + (plan.from_day.saturating_sub(1) * DAY) as Minute;
        for week in (first..history.end()).step_by(WEEK as usize) {
            let known = [(before(history, week), calendar.clone())];
            let standing = kept.last().map_or(model, |(_, model)| model);
            let Some(Tuned { model, accepted, .. }) = tuned(standing, &known, tuning)? else {
                continue;
            };
            weeks += 1;
            if accepted {
                kept.push((week, model));
            }
        }
        if weeks == 0 {
            return nothing(
                "no week has enough known traffic before it to fine-tune on".to_owned(),
            );
        }
        let accepted = kept.len();
        Ok(Self { kept, told: Told::Weeks { weeks, accepted } })
    }

    /// The forecaster that asks, after each minute, the network of that time; the first one is `model`.
    pub(super) fn forecaster<'a>(
        &'a self,
        model: &'a Model,
        prepared: &'a Prepared<'a>,
    ) -> FineTuned<'a> {
        let name = name(model);
        FineTuned { name, model, kept: &self.kept, prepared }
    }

    pub(super) const fn is_any(&self) -> bool {
        matches!(self.told, Told::Weeks { .. })
    }
}

/// The name in reports of a network that is fine-tuned weekly.
fn name(model: &Model) -> String {
    format!("{}, fine-tuned", model.network().kind())
}

/// What was known at the end of the minute before `end`.
fn before(history: &History, end: Minute) -> History {
    let minutes = usize::try_from(end - history.start).unwrap_or(0);
    let cut = |series: &Series| {
        let rps = series.rps.iter().copied().take(minutes).collect();
        Series { name: series.name.clone(), class: series.class, rps }
    };
    History { start: history.start, series: history.series.iter().map(cut).collect() }
}

/// See [`Weekly::forecaster`].
#[derive(Debug)]
pub(super) struct FineTuned<'a> {
    name: String,
    model: &'a Model,
    kept: &'a [(Minute, Model)],
    prepared: &'a Prepared<'a>,
}

impl QuantileForecaster for FineTuned<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn quantiles(&mut self, series: usize, origins: &[Minute]) -> Vec<Option<Quantiles>> {
        let standing = |origin: &Minute| self.kept.partition_point(|(from, _)| from <= origin);
        let stretches = origins.chunk_by(|one, other| standing(one) == standing(other));
        let answers = stretches.flat_map(|stretch| {
            let place = stretch.first().map_or(0, standing);
            let newest = place.checked_sub(1).and_then(|place| self.kept.get(place));
            let model = newest.map_or(self.model, |(_, model)| model);
            ModelForecaster { model, prepared: self.prepared }.quantiles(series, stretch)
        });
        answers.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::{Kind, generator};
    use crate::seed::Seed;

    #[test]
    fn a_week_is_forecast_by_the_head_that_stands_then_and_knows_nothing_after_its_beginning() {
        let (history, calendar) = generator::bank(Seed::root(3), 29_000_160, 12);
        let prepared = Prepared::new(&history, &calendar);
        let [model, later] = [Kind::Mixer, Kind::Tft].map(|kind| Model::builtin(kind).unwrap());
        let week = history.start + 10 * DAY as Minute;
        let origins: Vec<Minute> = (-3..3).map(|at| week + 7 * at).collect();
        let of = |model| ModelForecaster { model, prepared: &prepared }.quantiles(0, &origins);
        let (old, new) = (of(&model), of(&later));
        let told = Told::Weeks { weeks: 1, accepted: 1 };
        let weekly = Weekly { kept: vec![(week, later)], told };
        let found = weekly.forecaster(&model, &prepared).quantiles(0, &origins);
        assert_ne!(old, new);
        assert_eq!(found[..3], old[..3]);
        assert_eq!(found[3..], new[3..]);

        let known = before(&history, week);
        assert_eq!((known.start, known.end()), (history.start, week));
        assert_eq!(known.series.len(), history.series.len());
    }
}
