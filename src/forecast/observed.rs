//! What telemetry shows of each domain's traffic.

use crate::cluster::{SignalKind, Snapshot, Timestamp};

/// A domain is observed while at least this share of its apps has an answer without a fault.
pub const LEAST_OBSERVED: f64 = 0.5;

/// Traffic per domain as telemetry shows it, in requests per second, and the mean instant of its
/// readings, in the order of the catalog's domains; an answer that is missing counts with the one before.
/// `None` for a domain of which less than half is known.
#[must_use]
pub fn observed(snapshot: &Snapshot) -> Vec<Option<(Timestamp, f64)>> {
    #[derive(Clone, Default)]
    struct Sum {
        apps: f64,
        whole: f64,
        rps: f64,
        seconds: f64,
    }
    let mut sums = vec![Sum::default(); snapshot.catalog.domains.len()];
    for (app, state) in snapshot.catalog.apps.iter().zip(&snapshot.apps) {
        let (sum, signal) = (&mut sums[app.domain], &state.signals[SignalKind::Rps]);
        sum.apps += 1.0;
        if let Some(reading) = signal.reading {
            sum.rps += reading.value;
            if signal.fault.is_none() {
                sum.whole += 1.0;
                sum.seconds += reading.at.as_seconds();
            }
        }
    }
    sums.into_iter()
        .map(|sum| {
            let seen = sum.whole > 0.0 && sum.whole >= LEAST_OBSERVED * sum.apps;
            seen.then(|| (Timestamp::from_seconds(sum.seconds / sum.whole), sum.rps))
        })
        .collect()
}
