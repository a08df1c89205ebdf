//! Waiting for a condition, never for time: polls until it holds or a deadline passes.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long to let a condition be before it is looked at again.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `probe` until it succeeds. After `within`, fails with what was waited for and the
/// reason that the probe gave last.
pub async fn until<T>(
    what: impl Display,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut reason = "nothing".to_owned();
    loop {
        // A probe that hangs must not outlive the deadline.
        let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => reason = format!("{seen:#}"),
            // Cut off by the deadline: what was seen before says more.
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}; last seen: {reason}", within.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Calls `probe` for all of `span` and fails as soon as it does: for what must *stay* true.
pub async fn throughout(
    what: impl Display,
    span: Duration,
    mut probe: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let end = Instant::now() + span;
    while Instant::now() < end {
        if let Err(reason) = probe().await {
            bail!("{what} did not last: {reason:#}");
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
