//! Whether Prometheus answers, and whether its clock can be compared with ours.

use crate::clock;
use crate::telemetry::{Prometheus, Settings};

use super::line::Line;

/// Asks the Prometheus of `settings` for a constant.
pub(super) async fn examine(settings: &Settings) -> Line {
    let url = &settings.url;
    let prometheus = match Prometheus::new(settings) {
        Ok(prometheus) => prometheus,
        Err(error) => {
            return Line::fail(
                format!("Prometheus {url}: {error}"),
                "see telemetry in the configuration",
            );
        }
    };
    match prometheus.query("vector(1)", clock::now()).await {
        Ok(reply) => judge(settings, reply.skew),
        Err(error) => Line::fail(
            format!("Prometheus does not answer: {error}"),
            "telemetry.url as this machine sees it; the pods may see it otherwise",
        ),
    }
}

fn judge(settings: &Settings, skew: Option<f64>) -> Line {
    let url = &settings.url;
    let hint = "the clocks of Prometheus and of the nodes must be synchronised";
    match skew {
        None => Line::warn(
            format!("Prometheus {url} answers without a Date"),
            "its clock cannot be compared with ours",
        ),
        Some(skew) if skew.abs() > settings.skew_hold_seconds => Line::fail(
            format!(
                "the clock of Prometheus {url} is {skew:+.0} s from ours: no value of it is used beyond {:.0} s",
                settings.skew_hold_seconds
            ),
            hint,
        ),
        Some(skew) if skew.abs() > settings.skew_warn_seconds => {
            Line::warn(format!("the clock of Prometheus {url} is {skew:+.0} s from ours"), hint)
        }
        Some(_) => Line::pass(format!("Prometheus {url} answers, and its clock is ours")),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::check::line::Mark;

    use super::*;

    #[test]
    fn a_clock_that_is_off_warns_and_then_fails() {
        let settings = Settings::default();
        for (skew, mark) in [
            (Some(0.4), Mark::Pass),
            (Some(-5.0), Mark::Warn),
            (Some(31.0), Mark::Fail),
            (Some(-31.0), Mark::Fail),
            (None, Mark::Warn),
        ] {
            assert_eq!(judge(&settings, skew).mark, mark, "{skew:?}");
        }
    }

    #[tokio::test]
    async fn a_prometheus_that_is_not_there_fails_with_its_address() {
        // Port 1 on loopback: refused at once.
        let settings = Settings { url: "http://127.0.0.1:1".into(), ..Settings::default() };
        let line = examine(&settings).await;
        assert_eq!(line.mark, Mark::Fail);
        assert!(line.what.contains("127.0.0.1:1"), "{}", line.what);
        let settings = Settings { url: "not a url".into(), ..Settings::default() };
        assert_eq!(examine(&settings).await.mark, Mark::Fail);
    }
}
