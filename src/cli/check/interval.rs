//! How often the HPA controller really reads each HPA, from what the server has seen itself.

use futures::stream::{self, StreamExt as _};
use serde::Deserialize;

use crate::cli::objects::live::plain;
use crate::cli::objects::view::Amount;
use crate::http::READ_INTERVAL_METRIC;

use super::line::Line;

/// Sync period of the HPA controller, in seconds.
const SYNC: f64 = 15.0;
/// A median above this, in seconds, is no jitter any more.
const LATE: f64 = 16.0;
/// `--kube-api-qps` of kube-controller-manager when it is not set.
const DEFAULT_QPS: f64 = 20.0;
/// API requests that one sync of an HPA makes: metric, scale and status, and one to spare.
const REQUESTS_PER_SYNC: f64 = 4.0;
/// Syncs that one worker gets done in a second, measured with 1,550 HPAs and 25 workers.
const SYNCS_PER_WORKER: f64 = 4.0;
/// Namespaces asked at a time.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    value: Amount,
}

/// Asks every namespace that has HPAs of ours. `hpas` counts all HPAs of the cluster.
pub(super) async fn measure(client: &kube::Client, namespaces: &[String], hpas: usize) -> Line {
    let answers: Vec<Result<Vec<f64>, kube::Error>> = stream::iter(namespaces)
        .map(|namespace| read(client, namespace))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut seconds = Vec::new();
    for (namespace, answer) in namespaces.iter().zip(answers) {
        match answer {
            Ok(some) => seconds.extend(some),
            // No HPA of this namespace has been read twice yet.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                let hint = match &error {
                    kube::Error::Api(status) if status.code == 403 => {
                        "the user of this kubeconfig must be allowed to list them (ClusterRole hirl:view)"
                    }
                    _ => "the server does not answer this: see the APIService above and its pods",
                };
                let what = format!("the read intervals of {namespace} cannot be read");
                return Line::warn(format!("{what}: {}", plain(&error)), hint);
            }
        }
    }
    judge(seconds, hpas)
}

async fn read(client: &kube::Client, namespace: &str) -> Result<Vec<f64>, kube::Error> {
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{READ_INTERVAL_METRIC}"
    );
    let request = hyper::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    let list: List = client.request(request).await?;
    Ok(list.items.into_iter().map(|item| item.value.value).collect())
}

fn judge(mut seconds: Vec<f64>, hpas: usize) -> Line {
    seconds.retain(|value| *value > 0.0);
    seconds.sort_by(f64::total_cmp);
    let Some(&median) = seconds.get(seconds.len() / 2) else {
        return Line::warn(
            "no HPA has been read twice yet, so that no interval is known",
            "check again in a minute",
        );
    };
    let seen = format!(
        "the controller-manager syncs each HPA every {median:.1} s (median of {}, longest {:.1} s)",
        seconds.len(),
        seconds[seconds.len() - 1]
    );
    if median <= LATE {
        return Line::pass(seen);
    }
    let reads = hpas as f64 / SYNC;
    let qps = (reads * REQUESTS_PER_SYNC / 50.0).ceil() * 50.0;
    let workers = (reads / SYNCS_PER_WORKER).ceil().max(5.0);
    Line::warn(
        seen,
        format!(
            "period = max({SYNC} s, HPAs / kube-api-qps): {hpas} HPAs / {DEFAULT_QPS} per second \
             (the default) = {:.1} s; {hpas} / {SYNC} s = {reads:.0} syncs per second need \
             kube-controller-manager --kube-api-qps={qps} --kube-api-burst={} \
             --concurrent-horizontal-pod-autoscaler-syncs={workers}",
            (hpas as f64 / DEFAULT_QPS).max(SYNC),
            2.0 * qps,
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::line::Mark;

    #[test]
    fn slow_syncs_name_the_flags_with_the_arithmetic() {
        let line = judge(vec![77.6; 1550], 1550);
        assert_eq!(line.mark, Mark::Warn);
        for part in [
            "1550 HPAs / 20 per second (the default) = 77.5 s",
            "103 syncs per second",
            "--kube-api-qps=450 --kube-api-burst=900",
            "--concurrent-horizontal-pod-autoscaler-syncs=26",
        ] {
            assert!(line.hint.contains(part), "{}", line.hint);
        }
        assert!(line.what.contains("every 77.6 s"), "{}", line.what);
    }

    #[test]
    fn the_normal_period_passes_and_no_reads_are_no_verdict() {
        assert_eq!(judge(vec![15.0, 15.1, 90.0], 10).mark, Mark::Pass);
        assert_eq!(judge(vec![15.0, 16.1, 16.2], 10).mark, Mark::Warn);
        assert_eq!(judge(vec![], 10).mark, Mark::Warn);
        assert_eq!(judge(vec![0.0], 10).mark, Mark::Warn);
    }
}
