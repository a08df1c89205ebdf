//! Means and deviations of the features, measured once before anything is learned.

use super::episode::Episode;
use crate::policy::hirl::Model;
use crate::policy::hirl::features::{APP, COMMAND, DOMAIN};
use crate::seed::Seed;

/// Sums over what was seen.
#[derive(Debug, Clone)]
pub struct Statistics {
    apps: Sums,
    domains: Sums,
    commander: Sums,
}

#[derive(Debug, Clone)]
struct Sums {
    count: f64,
    values: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(width: usize) -> Self {
        Self { count: 0.0, values: vec![0.0; width], squares: vec![0.0; width] }
    }

    fn add<'a>(&mut self, values: impl Iterator<Item = &'a f32>) {
        self.count += 1.0;
        for ((sum, square), value) in self.values.iter_mut().zip(&mut self.squares).zip(values) {
            let value = f64::from(*value);
            *sum += value;
            *square += value * value;
        }
    }

    /// Means and deviations; `None` of nothing.
    fn done(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        (self.count > 0.0).then(|| {
            let moments = self.values.iter().zip(&self.squares).map(|(sum, square)| {
                let mean = sum / self.count;
                (mean as f32, (square / self.count - mean * mean).max(0.0).sqrt() as f32)
            });
            moments.unzip()
        })
    }
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            apps: Sums::new(APP.len()),
            domains: Sums::new(DOMAIN.len()),
            commander: Sums::new(DOMAIN.len() + COMMAND.len()),
        }
    }
}

impl Statistics {
    /// Takes in what one episode saw.
    pub fn add(&mut self, episode: &Episode) {
        for sample in &episode.soldiers {
            let view = &sample.step.view;
            self.domains.add(view.features.iter());
            view.apps.iter().for_each(|app| self.apps.add(app.iter()));
        }
        for sample in &episode.commander {
            let view = &sample.step.view;
            for (own, more) in view.domains.iter().zip(&view.features) {
                self.commander.add(own.iter().chain(more));
            }
        }
    }

    /// Sets them in a model; what was not seen, and what was measured before, stays as it is. In the stage of the
    /// Soldiers nobody sees what the Commander sees, so that its own are measured later.
    pub fn set(&self, model: &Model) -> candle_core::Result<()> {
        if let (Some(apps), Some(domains)) = (self.apps.done(), self.domains.done())
            && !is_measured(model, "soldier.app_statistics.mean")?
        {
            model.soldier.set_statistics([(&apps.0, &apps.1), (&domains.0, &domains.1)])?;
        }
        if let Some((mean, deviation)) = self.commander.done()
            && !is_measured(model, "commander.statistics.mean")?
        {
            model.commander.set_statistics((&mean, &deviation))?;
        }
        Ok(())
    }
}

/// Whether these means are others than those of an untrained model.
fn is_measured(model: &Model, name: &str) -> candle_core::Result<bool> {
    let untrained = Model::untrained(Seed::root(0)).map_err(candle_core::Error::wrap)?;
    let means = |model: &Model| {
        let mean = model.parameters().get(name).map(|mean| mean.to_vec1::<f32>());
        mean.unwrap_or_else(|| Ok(Vec::new()))
    };
    Ok(means(model)? != means(&untrained)?)
}
