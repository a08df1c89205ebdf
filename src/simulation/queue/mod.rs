//! What the pods of one app do with its requests, in steps of a few seconds.
//!
//! Every pod has a queue of its own with `k` workers: a request that a pod has taken does not move
//! to another one. Requests are spread evenly over the ready pods. Like pods are kept together as
//! a [`Cohort`], so that the cost does not grow with the pods.
//!
//! In a steady state the waiting time is Sakasegawa's approximation of `G/G/k`; its tail is
//! exponential, and the 99th percentile of the whole time is that of a Gamma distribution with
//! the same mean and variance. The number waiting moves towards its steady state no faster than
//! requests come and go, so that a surge builds up a backlog and a backlog takes its time to
//! drain. Callers give up after their time-out: they leave the queue, or the work on them was in
//! vain, and some of them try again.

use super::scenario::AppSpec;

/// How often one caller may try again; an app that states more is treated as this.
pub const MAX_RETRIES: usize = 5;

/// A share of busy workers above which a queue counts as full: its steady state is then set by
/// time-outs alone.
const FULL: f64 = 0.9999;

/// What one request asks of one pod, and when its caller gives up: does not change over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// Requests that one pod works on at once.
    pub workers: f64,
    /// Mean time of one request on a warm idle pod, in seconds.
    pub service_seconds: f64,
    /// Squared coefficient of variation of that time.
    pub service_scv: f64,
    /// Squared coefficient of variation of the time between arrivals at one pod.
    pub arrival_scv: f64,
    /// CPU of one request on a warm pod, in core-seconds.
    pub cpu_seconds: f64,
    /// CPU of a pod without requests, in cores.
    pub idle_cpu: f64,
    /// CPU that one pod can use at most, in cores; infinite without a limit.
    pub cpu_limit: f64,
    /// After this long a caller gives up, in seconds.
    pub timeout_seconds: f64,
    /// How often a caller tries again, at most [`MAX_RETRIES`].
    pub retries: usize,
}

impl Service {
    /// What `app` states.
    #[must_use]
    pub fn of(app: &AppSpec) -> Self {
        Self {
            workers: f64::from(app.workers),
            service_seconds: app.service_seconds,
            service_scv: app.service_scv,
            arrival_scv: app.arrival_scv,
            cpu_seconds: app.cpu_seconds,
            idle_cpu: app.idle_cpu,
            cpu_limit: app.cpu_limit.unwrap_or(f64::INFINITY),
            timeout_seconds: app.timeout_seconds,
            retries: (app.retries as usize).min(MAX_RETRIES),
        }
    }

    /// Requests per second that one pod can work off at this speed.
    #[must_use]
    pub fn capacity(&self, speed: f64, downstream: &Downstream) -> f64 {
        self.station(speed, downstream).capacity
    }

    /// One pod as a station of workers.
    fn station(&self, speed: f64, downstream: &Downstream) -> Station {
        let speed = speed.max(1e-6);
        let cpu = self.cpu_seconds / speed;
        let cpu_free = (self.cpu_limit - self.idle_cpu).max(1e-9);
        // One request alone is never faster than the CPU limit allows.
        let own = (self.service_seconds / speed).max(cpu / cpu_free);
        let seconds = own + downstream.seconds;
        let variance = self.service_scv * own * own + downstream.variance;
        let capacity = (self.workers / seconds).min(cpu_free / cpu);
        Station { seconds, variance, capacity, cpu }
    }
}

/// What the calls of one request to other apps add to it. A worker waits for them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Downstream {
    /// Mean time, in seconds.
    pub seconds: f64,
    /// Variance of that time, in square seconds.
    pub variance: f64,
    /// Share of the requests that fail because a call failed, 0 to 1.
    pub error_ratio: f64,
}

/// Pods of one app that are alike.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cohort {
    /// How many.
    pub pods: u32,
    /// Their speed as a share of full speed, above 0.
    pub speed: f64,
    /// Requests that wait at one of them (on average), not those in work.
    pub waiting: f64,
}

impl Cohort {
    /// Takes in `pods` more, at each of which `waiting` requests wait. No request is lost.
    pub fn join(&mut self, pods: u32, waiting: f64) {
        let all = self.pods + pods;
        if all > 0 {
            let sum = f64::from(self.pods) * self.waiting + f64::from(pods) * waiting;
            self.waiting = sum / f64::from(all);
        }
        self.pods = all;
    }

    /// Lets `pods` go (at most all) and gives the number of requests that waited at them.
    pub fn leave(&mut self, pods: u32) -> f64 {
        let gone = pods.min(self.pods);
        self.pods -= gone;
        let lost = f64::from(gone) * self.waiting;
        if self.pods == 0 {
            self.waiting = 0.0;
        }
        lost
    }
}

/// Callers of one app that will try again in the next step, by how often they have tried.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Retries([f64; MAX_RETRIES]);

impl Retries {
    /// Takes in `count` callers whose first try failed with the pod that it waited at.
    pub fn fail(&mut self, count: f64) {
        self.0[0] += count;
    }

    /// How many callers.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.0.iter().sum()
    }
}

/// What came of one step, over all ready pods of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Requests that reached the app, tries again included, per second.
    pub arrived: f64,
    /// Requests answered well and in time, per second.
    pub succeeded: f64,
    /// Tries that failed, per second: timed out, refused by nobody being ready, or failed by a call.
    pub failed: f64,
    /// The part of `failed` that timed out, per second.
    pub timed_out: f64,
    /// Callers that gave up for good, per second.
    pub lost: f64,
    /// CPU in use, in cores.
    pub cpu: f64,
    /// Share of the workers that are busy, 0 to 1.
    pub busy: f64,
    /// Mean time of a request, in seconds, at most the time-out; NaN without traffic.
    pub mean_seconds: f64,
    /// Variance of that time, in square seconds; NaN without traffic.
    pub variance: f64,
    /// 99th percentile of that time, in seconds, at most the time-out; NaN without traffic.
    pub p99_seconds: f64,
}

impl Outcome {
    /// Share of the tries that failed, 0 to 1; 0 without any.
    #[must_use]
    pub fn error_ratio(&self) -> f64 {
        let all = self.succeeded + self.failed;
        if all > 0.0 { self.failed / all } else { 0.0 }
    }
}

/// One pod: workers that take `seconds` for a request.
struct Station {
    seconds: f64,
    variance: f64,
    capacity: f64,
    cpu: f64,
}

/// What came of one step at one pod.
struct PodOutcome {
    /// Requests that left by being worked off.
    served: f64,
    /// Requests whose caller gave up while they waited.
    abandoned: f64,
    /// Share of the served that were too late.
    late: f64,
    /// Mean and variance of the whole time.
    mean: f64,
    variance: f64,
    /// Mean of the time at the worse end of the step.
    worst: f64,
}

/// Advances one app by `seconds`: `offered` new requests per second meet its ready `cohorts`.
///
/// Requests are conserved: what was offered has succeeded, is lost for good, waits in a cohort
/// or waits to be tried again.
pub fn advance(
    service: &Service,
    cohorts: &mut [Cohort],
    retries: &mut Retries,
    offered: f64,
    downstream: &Downstream,
    seconds: f64,
) -> Outcome {
    let again = std::mem::take(retries);
    let tries = offered.max(0.0) * seconds + again.count();
    let pods: u32 = cohorts.iter().map(|cohort| cohort.pods).sum();
    let mut sums = Sums::default();
    if pods == 0 {
        sums.failed = tries;
    } else {
        let each = tries / f64::from(pods) / seconds;
        for cohort in cohorts.iter_mut().filter(|cohort| cohort.pods > 0) {
            let station = service.station(cohort.speed, downstream);
            let pod = station.advance(service, &mut cohort.waiting, each, seconds);
            sums.add(f64::from(cohort.pods), &station, &pod, downstream.error_ratio);
        }
    }
    let lost = retries.plan(service.retries, tries, &again, sums.failed);
    let p99 = percentile(sums.worst_mean(), sums.worst_variance());
    let idle = tries <= 0.0 && sums.served <= 0.0;
    let timeout = service.timeout_seconds;
    let known = |value: f64| match (idle, pods) {
        (true, _) => f64::NAN,
        (false, 0) => timeout,
        (false, _) => value.min(timeout),
    };
    Outcome {
        arrived: tries / seconds,
        succeeded: sums.succeeded / seconds,
        failed: sums.failed / seconds,
        timed_out: sums.timed_out / seconds,
        lost: lost / seconds,
        cpu: f64::from(pods) * service.idle_cpu + sums.cpu / seconds,
        busy: if pods == 0 {
            0.0
        } else {
            (sums.work / seconds / (f64::from(pods) * service.workers)).min(1.0)
        },
        mean_seconds: known(sums.mean()),
        variance: if idle { f64::NAN } else { sums.variance() },
        p99_seconds: known(p99),
    }
}

/// Sums over the cohorts of one app, in requests and seconds.
#[derive(Default)]
struct Sums {
    served: f64,
    succeeded: f64,
    failed: f64,
    timed_out: f64,
    cpu: f64,
    work: f64,
    weight: f64,
    time: f64,
    square: f64,
    worst: f64,
    worst_square: f64,
}

impl Sums {
    fn add(&mut self, pods: f64, station: &Station, pod: &PodOutcome, error_ratio: f64) {
        let late = pod.served * pod.late;
        let failed_calls = (pod.served - late) * error_ratio.clamp(0.0, 1.0);
        self.served += pods * pod.served;
        self.timed_out += pods * (pod.abandoned + late);
        self.failed += pods * (pod.abandoned + late + failed_calls);
        self.succeeded += pods * (pod.served - late - failed_calls);
        self.cpu += pods * pod.served * station.cpu;
        self.work += pods * pod.served * station.seconds;
        // Every pod gets the same traffic, so pods are the weights.
        self.weight += pods;
        self.time += pods * pod.mean;
        self.square += pods * (pod.variance + pod.mean * pod.mean);
        self.worst += pods * pod.worst;
        self.worst_square += pods * (pod.variance + pod.worst * pod.worst);
    }

    fn mean(&self) -> f64 {
        self.time / self.weight
    }

    fn variance(&self) -> f64 {
        if self.weight > 0.0 {
            (self.square / self.weight - self.mean() * self.mean()).max(0.0)
        } else {
            0.0
        }
    }

    fn worst_mean(&self) -> f64 {
        self.worst / self.weight
    }

    fn worst_variance(&self) -> f64 {
        (self.worst_square / self.weight - self.worst_mean() * self.worst_mean()).max(0.0)
    }
}

impl Retries {
    /// Sends `failed` of the last `tries` (of which `again` were not the first) to their next try
    /// and gives those that have none left.
    fn plan(&mut self, limit: usize, tries: f64, again: &Self, failed: f64) -> f64 {
        if limit == 0 || failed <= 0.0 {
            return failed.max(0.0);
        }
        // The parts of first, second, .. tries in what fails are those in what arrives.
        let part = |count: f64| if tries > 0.0 { failed * (count / tries) } else { 0.0 };
        let mut rest = failed;
        for index in 1..limit {
            self.0[index] = part(again.0[index - 1]);
            rest -= self.0[index];
        }
        let lost = part(again.0[limit - 1]);
        self.0[0] = (rest - lost).max(0.0);
        lost
    }
}

impl Station {
    /// Advances one pod: `arriving` requests per second for `seconds`.
    fn advance(
        &self,
        service: &Service,
        waiting: &mut f64,
        arriving: f64,
        seconds: f64,
    ) -> PodOutcome {
        let capacity = self.capacity;
        let load = arriving / capacity;
        let spread =
            f64::midpoint(service.arrival_scv, self.variance / (self.seconds * self.seconds));
        // As many workers as the CPU can keep busy.
        let workers = (capacity * self.seconds).max(1.0);
        // Share of requests that have to wait, and how many wait, once the state is steady.
        let delayed = load.min(1.0).powf((2.0 * (workers + 1.0)).sqrt() - 1.0).min(1.0);
        let steady = if load < FULL {
            arriving * delayed * spread / (capacity - arriving)
        } else {
            f64::INFINITY
        };
        // Time-outs bound it. The bound only counts where the queue is about as long as that.
        let timeout = service.timeout_seconds;
        let bounded = load > 0.5 && steady > 0.05 * capacity * timeout;
        // How fast the density of waiting times grows (or falls) with the time waited, per second.
        let rate = (arriving - capacity) / spread.max(1e-9);
        let longest = if bounded { truncated_mean(timeout, rate) } else { timeout };
        let most = capacity * longest;
        let target = steady.min(most);

        let before = *waiting;
        let surplus = (arriving - capacity) * seconds;
        let grown = before + surplus.max(0.0);
        let after = if grown < target {
            // Chance alone makes a queue grow with the square root of time.
            let chance = 4.0 / std::f64::consts::PI * spread * arriving * seconds;
            // It can grow by no more than what comes.
            (grown * grown + chance).sqrt().min(target).min(before + arriving * seconds)
        } else {
            // It drains by what the pod can do beyond what comes.
            (before + surplus.min(0.0)).max(target)
        };
        let gone = (before + arriving * seconds - after).max(0.0);
        let served = gone.min(capacity * seconds);
        *waiting = after;

        let wait = |waiting: f64| {
            let usual = waiting.min(steady);
            let usual = if arriving > 0.0 { usual / arriving.min(capacity) } else { 0.0 };
            usual + (waiting - steady).max(0.0) / capacity
        };
        let (mean_wait, worst_wait) = (wait(f64::midpoint(before, after)), wait(before.max(after)));
        // An exponential tail for those who wait; a backlog is about the same for everybody.
        let usual =
            mean_wait.min(if steady.is_finite() { steady / arriving.max(1e-9) } else { 0.0 });
        let backlog = mean_wait - usual;
        let variance = self.variance
            + usual * usual * (2.0 / delayed.max(1e-9) - 1.0).max(1.0)
            + 2.0 * spread * backlog / capacity;
        let mean = self.seconds + mean_wait;
        let late = if bounded && after >= 0.999 * most {
            late_among_served(timeout, rate, self.seconds)
        } else {
            tail(mean, variance, timeout)
        };
        PodOutcome {
            served,
            abandoned: gone - served,
            late: late.clamp(0.0, 1.0),
            mean,
            variance,
            worst: self.seconds + worst_wait,
        }
    }
}

/// Mean of a waiting time whose density grows with `rate` up to `limit`, where callers leave.
fn truncated_mean(limit: f64, rate: f64) -> f64 {
    let scaled = rate * limit;
    if scaled.abs() < 1e-3 {
        limit * (0.5 + scaled / 12.0)
    } else {
        (limit - 1.0 / rate + limit / scaled.exp_m1()).clamp(0.0, limit)
    }
}

/// Share of the served that are too late, where callers leave the queue at `limit`: they have waited
/// by the density of [`truncated_mean`] and are then in work for a time around `seconds`.
///
/// The integral of `exp(rate w) exp(-(limit - w) / seconds)` over the waiting times `w` from 0 to
/// `limit`, divided by that of `exp(rate w)`. Under overload it is `rate s / (rate s + 1)`: who
/// gets a worker has waited until shortly before the time-out. Below, next to nobody has.
fn late_among_served(limit: f64, rate: f64, seconds: f64) -> f64 {
    // Both integrals over exp(rate limit), so that no load overflows; 1 at a rate of 0.
    let integral = |rate: f64| {
        let scaled = rate * limit;
        if scaled.abs() < 1e-6 { 1.0 } else { -(-scaled).exp_m1() / scaled }
    };
    let work = 1.0 / seconds.max(1e-9);
    integral(rate + work) / integral(rate)
}

/// Standard normal 99th percentile.
const Z99: f64 = 2.326_347_9;

/// 99th percentile of a Gamma distribution with this mean and variance (Wilson and Hilferty).
fn percentile(mean: f64, variance: f64) -> f64 {
    let scv = (variance / (mean * mean)).min(9.0);
    let root = 1.0 - scv / 9.0 + Z99 * scv.sqrt() / 3.0;
    mean * root * root * root
}

/// Share of such a distribution beyond `limit`.
fn tail(mean: f64, variance: f64, limit: f64) -> f64 {
    let scv = (variance / (mean * mean)).clamp(1e-9, 9.0);
    // Far below the limit: nothing that would be seen.
    if mean * (1.0 + 12.0 * scv.sqrt()) < limit {
        return 0.0;
    }
    let z = ((limit / mean).cbrt() - (1.0 - scv / 9.0)) * 3.0 / scv.sqrt();
    upper_normal(z)
}

/// Share of the standard normal distribution above `z`: Abramowitz and Stegun 26.2.17, error below 1e-7.
fn upper_normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let above = 0.398_942_280_4 * (-z * z / 2.0).exp() * sum;
    if z >= 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests;
