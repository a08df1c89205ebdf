//! What a service does with its traffic: offered requests and ready pods in; served requests,
//! failures, CPU and latency out.

/// How long a caller waits before it gives up, in seconds.
pub const TIMEOUT: f64 = 5.0;

/// A request on an idle pod takes this many times its mean at the 99th percentile.
const SERVICE_P99: f64 = 2.5;

/// Shape of the latency distribution (Weibull): the median lies at 0.28 of the p99.
const SHAPE: f64 = 1.5;

/// What stays the same while traffic changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// CPU time of one request, in seconds.
    pub cost: f64,
    /// Requests that one pod works on at once.
    pub concurrency: u32,
    /// Mean time of one request on an idle pod, in seconds.
    pub base_latency: f64,
    /// CPU of a pod without traffic, in cores.
    pub idle_cpu: f64,
    /// CPU that a pod can use at most, in cores; `None` without a limit.
    pub cpu_limit: Option<f64>,
}

/// What comes of it, over all pods.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Requests answered well, per second.
    pub served: f64,
    /// Requests that failed, per second.
    pub failed: f64,
    /// CPU in use, in cores.
    pub cpu: f64,
    /// Mean latency, in seconds; NaN without traffic.
    pub mean_latency: f64,
    /// 99th percentile of latency, in seconds; NaN without traffic.
    pub p99: f64,
}

impl Service {
    /// Requests per second that one pod can serve.
    pub fn capacity(&self) -> f64 {
        let by_workers = f64::from(self.concurrency) / self.base_latency;
        match self.cpu_limit {
            Some(limit) => by_workers.min((limit - self.idle_cpu).max(0.0) / self.cost),
            None => by_workers,
        }
    }

    /// `offered` requests per second, spread evenly over `pods` ready pods. Each pod is a queue
    /// with several workers (M/M/k with Sakasegawa's approximation of the waiting time);
    /// what exceeds its capacity runs into the callers' timeout.
    pub fn under(&self, offered: f64, pods: u32) -> Outcome {
        let idle = f64::from(pods) * self.idle_cpu;
        if offered <= 0.0 || pods == 0 {
            // A service without pods reports nothing: it is the caller's side that sees errors.
            return Outcome {
                cpu: idle,
                mean_latency: f64::NAN,
                p99: f64::NAN,
                ..Outcome::default()
            };
        }
        let capacity = self.capacity();
        let arriving = offered / f64::from(pods);
        let accepted = arriving.min(capacity);
        // As many as the CPU can keep busy.
        let workers = (capacity * self.base_latency).max(1.0);
        let busy = accepted / capacity;
        // Share of requests that have to wait, and how fast a queue drains.
        let waiting = busy.powf((2.0 * (workers + 1.0)).sqrt() - 1.0);
        let drain = capacity - accepted;
        let (mean_wait, p99_wait) = if drain > 0.0 {
            (waiting / drain, ((waiting / 0.01).ln() / drain).max(0.0))
        } else {
            (TIMEOUT, TIMEOUT)
        };
        let served = accepted * f64::from(pods);
        Outcome {
            served,
            failed: offered - served,
            cpu: idle + served * self.cost,
            mean_latency: (self.base_latency + mean_wait).min(TIMEOUT),
            p99: (SERVICE_P99 * self.base_latency + p99_wait).min(TIMEOUT),
        }
    }
}

/// Share of requests that take at most `seconds` when the 99th percentile is `p99`.
pub fn share_within(seconds: f64, p99: f64) -> f64 {
    1.0 - (-(100.0_f64.ln()) * (seconds / p99).powf(SHAPE)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Service = Service {
        cost: 0.01,
        concurrency: 8,
        base_latency: 0.02,
        idle_cpu: 0.01,
        cpu_limit: Some(1.01),
    };

    #[test]
    fn more_pods_make_it_faster_and_cost_only_their_idle_cpu() {
        let few = SERVICE.under(150.0, 2);
        let many = SERVICE.under(150.0, 4);
        assert!(many.p99 < few.p99, "{few:?} {many:?}");
        assert!((many.cpu - few.cpu - 2.0 * SERVICE.idle_cpu).abs() < 1e-9);
        assert_eq!((few.failed, many.failed), (0.0, 0.0));
    }

    #[test]
    fn beyond_capacity_the_rest_fails_and_the_rest_is_slow() {
        // The CPU limit allows (1.01 - 0.01) / 0.01 = 100 requests per second and pod.
        assert!((SERVICE.capacity() - 100.0).abs() < 1e-9);
        let over = SERVICE.under(250.0, 2);
        assert!((over.served - 200.0).abs() < 1e-9 && (over.failed - 50.0).abs() < 1e-9);
        assert_eq!(over.p99, TIMEOUT);
        assert!((over.cpu - 2.0 * 1.01).abs() < 1e-9);
    }

    #[test]
    fn no_traffic_has_no_latency_and_no_pods_do_nothing() {
        assert!(SERVICE.under(0.0, 3).p99.is_nan());
        let nobody = SERVICE.under(100.0, 0);
        assert_eq!((nobody.served, nobody.cpu), (0.0, 0.0));
    }

    #[test]
    fn the_distribution_goes_through_its_own_percentile() {
        assert!((share_within(0.2, 0.2) - 0.99).abs() < 1e-12);
        assert!(share_within(0.05, 0.2) < share_within(0.1, 0.2));
    }
}
