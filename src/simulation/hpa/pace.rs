//! When each HPA is synced.

use crate::simulation::scenario::ControllerSpec;

/// Time between two syncs of one HPA when there are `hpas`, in seconds: the sync period, or longer
/// where the client's limit of requests or the workers do not get through all of them in time.
#[must_use]
pub fn period(controller: &ControllerSpec, hpas: usize) -> f64 {
    let hpas = hpas as f64;
    let by_client = hpas / controller.client_qps;
    let by_workers = hpas * controller.sync_cost_seconds / f64::from(controller.concurrent_syncs);
    controller.sync_seconds.max(by_client).max(by_workers)
}

/// When an HPA is synced first, in seconds: each has its own place in the period, `part` (0 to 1).
#[must_use]
pub fn first_sync(period: f64, part: f64) -> f64 {
    period * part.clamp(0.0, 1.0)
}
