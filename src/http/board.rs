//! The newest decision, laid out for reads: an index by scale target, and every answer's bytes,
//! written when first asked for and shared by all later reads of the same decision.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::watch;

use super::selector::Selector;
use crate::cluster::{AppId, Catalog};
use crate::control::{Entry, Published};
use crate::instruments::{AppLabel, Instruments};

/// How often the HPA controller reads one app. Only reads of this replica are seen: where two
/// share the load, each sees a part, and the interval is the longer for it.
#[derive(Debug, Default)]
pub(super) struct ReadClock {
    /// Microseconds from the start of the board to the last read; 0 before the first.
    last: AtomicU64,
    /// Moving average of the gaps, in microseconds; 0 before the second read.
    average: AtomicU64,
}

impl ReadClock {
    /// Notes a read, `since_start` after the start of the board.
    pub(super) fn tick(&self, since_start: Duration) {
        let now = (since_start.as_micros() as u64).max(1);
        let last = self.last.swap(now, Ordering::Relaxed);
        if last == 0 || now <= last {
            return;
        }
        let gap = now - last;
        let average = self.average.load(Ordering::Relaxed);
        // A quarter of each new gap: four syncs or so to follow a change, and one odd gap (the
        // controller reads at once after an edit of the HPA) does not look like a trend.
        let next = if average == 0 { gap } else { (average * 3 + gap) / 4 };
        // Two reads at the same instant may lose one update of a statistic; no harm.
        self.average.store(next.max(1), Ordering::Relaxed);
    }

    /// The interval between reads, or the time since the last one where that is longer already;
    /// `None` before the second read.
    pub(super) fn interval(&self, since_start: Duration) -> Option<Duration> {
        let average = self.average.load(Ordering::Relaxed);
        let silent =
            (since_start.as_micros() as u64).saturating_sub(self.last.load(Ordering::Relaxed));
        (average > 0).then(|| Duration::from_micros(average.max(silent)))
    }
}

/// What belongs to a catalog, kept while decisions share it.
#[derive(Debug)]
struct Layout {
    catalog: Arc<Catalog>,
    by_target: HashMap<Arc<str>, HashMap<Arc<str>, Vec<usize>>>,
    clocks: Vec<Arc<ReadClock>>,
}

/// One decision with its answers.
#[derive(Debug)]
pub(super) struct Laid {
    /// The decision.
    pub(super) published: Arc<Published>,
    layout: Arc<Layout>,
    answers: Vec<OnceLock<Bytes>>,
}

/// The board.
#[derive(Debug)]
pub(super) struct Board {
    newest: watch::Receiver<Option<Arc<Published>>>,
    laid: RwLock<Option<Arc<Laid>>>,
    start: Instant,
    instruments: Arc<Instruments>,
}

/// What a selector finds.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Nothing.
    Nobody,
    /// The one app.
    One(Entry<'a>),
    /// More than one: the first of them, and how many there are.
    Several(Vec<Entry<'a>>, usize),
}

/// Candidates that an ambiguous selector is answered with.
const NAMED: usize = 10;

impl Laid {
    fn new(published: Arc<Published>, layout: Arc<Layout>) -> Self {
        let answers = (0..layout.catalog.apps.len()).map(|_| OnceLock::new()).collect();
        Self { published, layout, answers }
    }

    /// The apps of `namespace` that `selector` means.
    pub(super) fn matching<'a>(
        &'a self,
        namespace: &'a str,
        selector: &'a Selector<'a>,
    ) -> impl Iterator<Item = Entry<'a>> {
        // A selector for one target, which is what an HPA has, needs no look at the others.
        let target = selector.exact("target");
        let indexed = target.and_then(|target| self.layout.by_target.get(namespace)?.get(target));
        let indexed = indexed.into_iter().flatten().map(|&index| self.published.entry(index));
        let scanned = target.is_none().then(|| self.published.namespace(namespace));
        indexed
            .chain(scanned.into_iter().flatten())
            .filter(|entry| selector.matches(|name| entry.label(name)))
    }

    /// The one app that is meant, or why there is none.
    pub(super) fn find<'a>(&'a self, namespace: &'a str, selector: &'a Selector<'a>) -> Found<'a> {
        let mut matching = self.matching(namespace, selector);
        match (matching.next(), matching.next()) {
            (None, _) => Found::Nobody,
            (Some(one), None) => Found::One(one),
            (Some(first), Some(second)) => {
                let mut some = vec![first, second];
                some.extend(matching.by_ref().take(NAMED - 2));
                let count = some.len() + matching.count();
                Found::Several(some, count)
            }
        }
    }

    /// The bytes that answer a read of the app at `index`.
    pub(super) fn answer(&self, index: usize, write: impl FnOnce() -> Bytes) -> Bytes {
        self.answers[index].get_or_init(write).clone()
    }

    /// How often the app at `index` is read.
    pub(super) fn clock(&self, index: usize) -> &ReadClock {
        &self.layout.clocks[index]
    }
}

impl Board {
    /// Follows what is published.
    pub(super) fn new(
        newest: watch::Receiver<Option<Arc<Published>>>,
        instruments: Arc<Instruments>,
    ) -> Self {
        Self { newest, laid: RwLock::default(), start: Instant::now(), instruments }
    }

    /// Time since the board was made: the clock of the [`ReadClock`]s.
    pub(super) fn since_start(&self) -> Duration {
        self.start.elapsed()
    }

    /// The newest decision; `None` before the first.
    pub(super) fn newest(&self) -> Option<Arc<Laid>> {
        let current = |laid: &Option<Arc<Laid>>, newest: &Arc<Published>| {
            laid.as_ref().filter(|laid| Arc::ptr_eq(&laid.published, newest)).map(Arc::clone)
        };
        let newest = {
            let newest = self.newest.borrow();
            let newest = newest.as_ref()?;
            let laid = self.laid.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(laid) = current(&laid, newest) {
                return Some(laid);
            }
            Arc::clone(newest)
        };
        let mut kept = self.laid.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(laid) = current(&kept, &newest) {
            return Some(laid);
        }
        let layout = self.layout(&newest, kept.as_ref().map(|laid| &laid.layout));
        let laid = Arc::new(Laid::new(newest, layout));
        *kept = Some(Arc::clone(&laid));
        Some(laid)
    }

    /// The layout of a decision's catalog; read clocks move on with their apps.
    fn layout(&self, published: &Published, before: Option<&Arc<Layout>>) -> Arc<Layout> {
        let catalog = &published.decision().catalog;
        if let Some(same) = before.filter(|before| Arc::ptr_eq(&before.catalog, catalog)) {
            return Arc::clone(same);
        }
        let mut known: HashMap<&AppId, &Arc<ReadClock>> = HashMap::new();
        if let Some(before) = before {
            known.extend(before.catalog.apps.iter().map(|app| &app.id).zip(&before.clocks));
        }
        let mut by_target: HashMap<Arc<str>, HashMap<Arc<str>, Vec<usize>>> = HashMap::new();
        let mut clocks = Vec::with_capacity(catalog.apps.len());
        for (index, app) in catalog.apps.iter().enumerate() {
            let targets = by_target.entry(Arc::clone(&app.id.namespace)).or_default();
            targets.entry(Arc::clone(&app.target)).or_default().push(index);
            clocks.push(known.get(&app.id).map_or_else(Arc::default, |clock| Arc::clone(clock)));
        }
        let present: HashSet<&AppId> = catalog.apps.iter().map(|app| &app.id).collect();
        for gone in known.keys().filter(|id| !present.contains(*id)) {
            self.instruments.hpa_read_interval.remove(&label(gone));
        }
        Arc::new(Layout { catalog: Arc::clone(catalog), by_target, clocks })
    }

    /// How often each app is read, for those read at least twice.
    pub(super) fn read_intervals(&self) -> Vec<(AppId, Duration)> {
        let Some(laid) = self.newest() else {
            return Vec::new();
        };
        let now = self.since_start();
        let apps = laid.layout.catalog.apps.iter().zip(&laid.layout.clocks);
        apps.filter_map(|(app, clock)| Some((app.id.clone(), clock.interval(now)?))).collect()
    }

    /// Brings the gauge of read intervals up to date, so that an HPA that stopped reading shows.
    pub(super) fn export_read_intervals(&self) {
        for (id, interval) in self.read_intervals() {
            let gauge = self.instruments.hpa_read_interval.get_or_create(&label(&id));
            gauge.set(interval.as_secs_f64());
        }
    }
}

fn label(id: &AppId) -> AppLabel {
    AppLabel { namespace: id.namespace.to_string(), hpa: id.hpa.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_interval_follows_the_reads_and_grows_when_they_stop() {
        let clock = ReadClock::default();
        assert_eq!(clock.interval(seconds(5)), None);
        clock.tick(seconds(10));
        assert_eq!(clock.interval(seconds(20)), None);
        clock.tick(seconds(25));
        assert_eq!(clock.interval(seconds(26)), Some(seconds(15)));
        for read in 1..=20 {
            clock.tick(seconds(25 + 75 * read));
        }
        let interval = clock.interval(seconds(25 + 75 * 20)).unwrap();
        assert!((interval.as_secs_f64() - 75.0).abs() < 1.0, "{interval:?}");
        assert_eq!(clock.interval(seconds(25 + 75 * 20 + 1000)), Some(seconds(1000)));
    }
}
