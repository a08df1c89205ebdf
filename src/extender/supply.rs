//! Brings each published decision into the ledger as budgets, and what the ledger counts out as
//! metrics.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::control::Published;
use crate::instruments::{Instruments, PoolLabel};
use crate::kubernetes::Placements;
use crate::placement::Budgets;

/// Age at which a decision no longer says who may use what; the domains' weights do then.
const TOO_OLD: Duration = Duration::from_mins(30);
/// How often ages are looked at and metrics are written.
const EVERY: Duration = Duration::from_secs(2);

/// Installs budgets.
#[derive(Debug)]
pub(super) struct Supply {
    /// Where decisions appear.
    pub(super) published: watch::Receiver<Option<Arc<Published>>>,
    /// Where budgets go.
    pub(super) placements: Placements,
    /// What a domain in breach may use beyond its budget: 0.1 = 10 %.
    pub(super) band: f64,
    /// How long a breach counts after the last decision that said so.
    pub(super) breach: Duration,
    /// Our metrics.
    pub(super) instruments: Arc<Instruments>,
}

impl Supply {
    /// Until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut by_weight = false;
        let mut shown = HashSet::new();
        let mut open = true;
        loop {
            let changed = self.published.has_changed().unwrap_or(false);
            let newest = self.published.borrow_and_update().clone();
            if let Some(newest) = newest {
                let old = newest.age() > TOO_OLD;
                if changed || old != by_weight {
                    self.install(&newest, old);
                    by_weight = old;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                lives = self.published.changed(), if open => {
                    open = lives.is_ok();
                    // To be seen as a change above.
                    self.published.mark_changed();
                }
                _ = ticks.tick() => self.export(&mut shown),
            }
        }
    }

    fn install(&self, newest: &Published, old: bool) {
        let decision = newest.decision();
        let budgets = if old {
            tracing::error!(
                age_seconds = newest.age().as_secs(),
                "no decision for too long: shares of node pools follow the weights of the domains"
            );
            Budgets::by_weight(decision)
        } else {
            // A decision that was on its way for long says nothing about now.
            let left = self.breach.saturating_sub(newest.age());
            Budgets::of(decision, self.band, clock::now().plus(left))
        };
        let epoch = budgets.epoch;
        self.instruments.extender.static_shares.set(i64::from(old));
        if self.placements.lock().install(budgets) {
            let term = i64::try_from(epoch.term).unwrap_or(i64::MAX);
            self.instruments.extender.budget_epoch.set(term);
        } else {
            tracing::warn!(%epoch, "budgets older than those in force were left alone");
        }
    }

    fn export(&self, shown: &mut HashSet<PoolLabel>) {
        let (uses, unsettled, counts) = {
            let mut ledger = self.placements.lock();
            (ledger.uses(clock::now()), ledger.unsettled().len(), ledger.counts())
        };
        let meters = &self.instruments.extender;
        meters.unsettled.set(i64::try_from(unsettled).unwrap_or(i64::MAX));
        // The ledger counts; this is the only place that tells Prometheus.
        meters.holds_released.inner().store(counts.holds_released, Ordering::Relaxed);
        meters.foreign_binds.inner().store(counts.foreign_binds, Ordering::Relaxed);
        let cores = |milli: u64| milli as f64 / 1000.0;
        let mut now = HashSet::new();
        for one in uses {
            let label = PoolLabel { domain: one.domain.to_string(), pool: one.pool.to_string() };
            let taken = one.bound.cpu_milli + one.binding.cpu_milli + one.held.cpu_milli;
            meters.pool_used.get_or_create(&label).set(cores(taken));
            meters.pool_target.get_or_create(&label).set(cores(one.target.cpu_milli));
            meters.pool_floor.get_or_create(&label).set(cores(one.floor.cpu_milli));
            meters.pool_waiting.get_or_create(&label).set(cores(one.waiting.cpu_milli));
            now.insert(label);
        }
        for gone in shown.difference(&now) {
            for gauge in
                [&meters.pool_used, &meters.pool_target, &meters.pool_floor, &meters.pool_waiting]
            {
                gauge.remove(gone);
            }
        }
        *shown = now;
    }
}
