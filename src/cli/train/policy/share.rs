//! Episodes made by others: a folder that the trainer and its workers share.
//!
//! ```text
//! trainer: order-000012.safetensors (weights, task, price)  ─► workers
//! worker:  part-000012-3.episodes (its episodes)            ─► trainer
//! trainer: done                                             ─► workers stop
//! ```
//!
//! Files are there whole or not at all. A number means the same episode whoever makes it, so that the trainer makes
//! itself what a lost worker leaves out, and the weights are those of a run without workers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::task::{Iteration, Numbered, Roster, Task, made};
use crate::cli::files;
use crate::hash::sha256;
use crate::policy::hirl::Model;

/// Time between two looks into the folder.
const LOOK: Duration = Duration::from_millis(100);

/// What says that no more orders come.
const DONE: &str = "done";

/// What a worker is to do, in the origin of the weights.
const ORDER: &str = "order";

/// An order beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Order {
    task: Task,
    iteration: Iteration,
    /// Version of the program, which decides what an episode is.
    version: String,
}

/// What a worker gives back.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    /// SHA-256 of the order.
    order: String,
    episodes: Vec<Numbered>,
}

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Share(PathBuf);

impl Share {
    fn order(&self, iteration: u64) -> PathBuf {
        self.0.join(format!("order-{iteration:06}.safetensors"))
    }

    fn part(&self, iteration: u64, worker: u64) -> PathBuf {
        self.0.join(format!("part-{iteration:06}-{worker}.episodes"))
    }

    /// The newest order, with its number.
    fn newest(&self) -> anyhow::Result<Option<u64>> {
        let mut newest = None;
        for name in self.names()? {
            let number = name.strip_prefix("order-").and_then(|it| it.strip_suffix(".safetensors"));
            newest = newest.max(number.and_then(|number| number.parse().ok()));
        }
        Ok(newest)
    }

    fn names(&self) -> anyhow::Result<Vec<String>> {
        let entries =
            fs::read_dir(&self.0).with_context(|| format!("cannot read {}", self.0.display()))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }
}

/// The trainer's end.
#[derive(Debug)]
pub(super) struct Orders {
    share: Share,
    workers: u64,
    limit: Duration,
}

impl Orders {
    /// Of so many workers, which get this long for their part. What an earlier run left in the folder goes.
    pub(super) fn new(folder: &Path, workers: u64, limit: Duration) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let share = Share(folder.to_owned());
        for name in share.names()? {
            if name == DONE || name.starts_with("order-") || name.starts_with("part-") {
                fs::remove_file(folder.join(&name))
                    .with_context(|| format!("cannot remove {name}"))?;
            }
        }
        Ok(Self { share, workers, limit })
    }

    /// The episodes of an iteration: each worker's part, and the trainer's own, which is as large.
    pub(super) fn episodes(
        &self,
        (task, roster): (&Task, &Roster),
        model: &Arc<Model>,
        iteration: Iteration,
        threads: Option<std::num::NonZeroUsize>,
    ) -> anyhow::Result<Vec<Numbered>> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let order = Order { task: task.clone(), iteration, version };
        let origin = [(ORDER.to_owned(), serde_json::to_string(&order)?)];
        let bytes = model.to_bytes(origin.into_iter().collect())?;
        let hash = sha256(&bytes);
        files::write(&self.share.order(iteration.number), &bytes)?;
        let begun = Instant::now();
        let mine = turns(self.workers, self.workers, task.episodes);
        let mut all = made((task, roster), model, iteration, &mine, threads)?;
        for worker in 0..self.workers {
            let path = self.share.part(iteration.number, worker);
            let wanted = turns(worker, self.workers, task.episodes);
            if wanted.is_empty() {
                continue;
            }
            let given = self.wait(&path, &hash, (&wanted, roster.len()), begun);
            all.extend(if let Some(episodes) = given {
                episodes
            } else {
                let limit = self.limit.as_secs();
                let word = format!(
                    "worker {worker} gave nothing within {limit} s: its episodes are made here"
                );
                crate::cli::note(&word);
                made((task, roster), model, iteration, &wanted, threads)?
            });
            // Nobody reads it any more; one that comes later is removed at the next start.
            let _ = fs::remove_file(&path);
        }
        let _ = fs::remove_file(self.share.order(iteration.number));
        Ok(all)
    }

    /// A worker's part of this order, if it comes in time.
    fn wait(
        &self,
        path: &Path,
        order: &str,
        (wanted, members): (&[u64], usize),
        begun: Instant,
    ) -> Option<Vec<Numbered>> {
        loop {
            let part =
                fs::read(path).ok().and_then(|bytes| postcard::from_bytes::<Part>(&bytes).ok());
            let whole = |part: &Part| {
                let numbers = part.episodes.iter().map(|one| one.number);
                let mut numbers: Vec<u64> = numbers.collect();
                numbers.sort_unstable();
                let known = part.episodes.iter().all(|one| (one.at as usize) < members);
                part.order == order && numbers == wanted && known
            };
            if let Some(part) = part.filter(whole) {
                return Some(part.episodes);
            }
            if begun.elapsed() > self.limit {
                return None;
            }
            park_timeout(LOOK);
        }
    }

    /// Tells the workers to stop.
    pub(super) fn done(&self) -> anyhow::Result<()> {
        files::write(&self.share.0.join(DONE), b"")
    }
}

/// The numbers that are one's turn, of workers and the trainer, which comes last.
fn turns(index: u64, workers: u64, episodes: u64) -> Vec<u64> {
    (0..episodes).filter(|number| number % (workers + 1) == index).collect()
}

/// Makes episodes for a trainer, part `worker` of `workers`, until the trainer is done. `Err` after `patience`
/// without an order.
pub(super) fn work(
    folder: &Path,
    (worker, workers): (u64, u64),
    patience: Duration,
    threads: Option<std::num::NonZeroUsize>,
) -> anyhow::Result<()> {
    ensure!(
        worker < workers,
        "there are workers 0 to {}, and {worker} is none",
        workers.saturating_sub(1)
    );
    let share = Share(folder.to_owned());
    let mut known: Option<(Task, Roster)> = None;
    let (mut last, mut heard) = (None, Instant::now());
    loop {
        if folder.join(DONE).exists() {
            return Ok(());
        }
        let newest = if folder.exists() { share.newest()? } else { None };
        // Told by its time: a trainer that begins anew writes the same order again, and wants it done again.
        let stamp = newest.and_then(|number| {
            let written = fs::metadata(share.order(number)).ok()?.modified().ok()?;
            Some((number, written))
        });
        // The trainer removes an order once it has its episodes.
        let new = stamp
            .filter(|stamp| last != Some(*stamp))
            .and_then(|stamp| Some((stamp, fs::read(share.order(stamp.0)).ok()?)));
        let Some((stamp, bytes)) = new else {
            ensure!(
                heard.elapsed() < patience,
                "no order came into {} for {} s",
                folder.display(),
                patience.as_secs()
            );
            park_timeout(LOOK);
            continue;
        };
        let (order, model) = order(&bytes)?;
        if known.as_ref().is_none_or(|(task, _)| *task != order.task) {
            let roster = Roster::new(&order.task)?;
            known = Some((order.task.clone(), roster));
        }
        if let Some((task, roster)) = &known {
            let wanted = turns(worker, workers, task.episodes);
            let episodes = made((task, roster), &model, order.iteration, &wanted, threads)?;
            let part = Part { order: sha256(&bytes), episodes };
            files::write(
                &share.part(order.iteration.number, worker),
                &postcard::to_allocvec(&part)?,
            )?;
        }
        (last, heard) = (Some(stamp), Instant::now());
    }
}

/// An order and its weights from bytes. `Err` is one sentence.
fn order(bytes: &[u8]) -> anyhow::Result<(Order, Arc<Model>)> {
    let model = Model::from_bytes(bytes).context("an order")?;
    let text = model.origin().get(ORDER).context("an order says nothing of what is to be done")?;
    let order: Order = serde_json::from_str(text).context("an order")?;
    if order.version != env!("CARGO_PKG_VERSION") {
        bail!(
            "the trainer is version {}, this worker {}",
            order.version,
            env!("CARGO_PKG_VERSION")
        );
    }
    Ok((order, Arc::new(model)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_episode_is_one_turn() {
        let mut all: Vec<u64> = (0..=3).flat_map(|index| turns(index, 3, 10)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(turns(0, 0, 3), [0, 1, 2], "without workers all are the trainer's");
    }

    #[test]
    fn a_worker_that_nobody_gives_orders_says_so_and_one_that_is_none_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let work = |worker| {
            work(folder.path(), (worker, 2), Duration::ZERO, None).unwrap_err().to_string()
        };
        assert!(work(0).contains("no order came"), "{}", work(0));
        assert!(work(2).contains("workers 0 to 1"), "{}", work(2));
        fs::write(Share(folder.path().to_owned()).order(4), b"not weights").unwrap();
        let error =
            format!("{:#}", super::work(folder.path(), (0, 2), Duration::ZERO, None).unwrap_err());
        assert!(error.contains("an order"), "{error}");
    }
}
