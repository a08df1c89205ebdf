//! What a stock HPA on CPU utilisation would ask for: the yardstick, and the first fallback.
//!
//! The arithmetic is that of `GetResourceReplicas` in the Kubernetes replica calculator; its
//! down-scale stabilisation is [`super::Stabiliser`] with a window of 300 s.

/// What the HPA sees of one app.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HpaInput {
    /// CPU in use over all pods, in cores.
    pub cpu: f64,
    /// CPU request of one pod, in cores.
    pub cpu_request: f64,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that are not ready yet. The HPA takes them as idle before it scales up.
    pub unready: u32,
    /// `spec.replicas`: what stands when nothing is to be done.
    pub current: u32,
    /// Utilisation aimed at, 0.7 = 70 % of the request.
    pub target: f64,
    /// Relative deviation ignored upwards.
    pub tolerance_up: f64,
    /// Relative deviation ignored downwards.
    pub tolerance_down: f64,
}

/// `ceil` that forgives the last digits of a floating-point product, so that 10 pods' worth of
/// CPU is 10 pods and not 11. Never negative, 2^32 at the most.
#[must_use]
pub fn ceil_replicas(value: f64) -> f64 {
    let value = value - 1e-6 * value.abs().max(1.0);
    // `f64::ceil` is a call where the processor is not known to round; a cast never is.
    let whole = f64::from(value as u32);
    if whole < value { whole + 1.0 } else { whole }
}

/// Replicas a stock HPA asks for, before its bounds and stabilisation. `None` when it would not
/// act: no ready pod or no request.
#[must_use]
pub fn desired_replicas(input: &HpaInput) -> Option<f64> {
    let requested = f64::from(input.ready) * input.cpu_request;
    let aim = input.target * input.cpu_request;
    if requested <= 0.0 || aim <= 0.0 || !input.cpu.is_finite() {
        return None;
    }
    let current = f64::from(input.current);
    let within = |ratio: f64| {
        ratio >= 1.0 - input.tolerance_down - 1e-9 && ratio <= 1.0 + input.tolerance_up + 1e-9
    };
    let ratio = input.cpu / requested / input.target;
    if within(ratio) {
        return Some(current);
    }
    if ratio > 1.0 && input.unready > 0 {
        // Pods on their way count as idle: they may already be the answer.
        let with_unready = f64::from(input.ready + input.unready) * aim;
        let damped = input.cpu / with_unready;
        if within(damped) || damped < 1.0 {
            return Some(current);
        }
    }
    let desired = ceil_replicas(input.cpu / aim);
    let turns = (ratio > 1.0 && desired < current) || (ratio < 1.0 && desired > current);
    Some(if turns { current } else { desired })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(cpu: f64, ready: u32, unready: u32, current: u32) -> Option<f64> {
        desired_replicas(&HpaInput {
            cpu,
            cpu_request: 1.0,
            ready,
            unready,
            current,
            target: 0.5,
            tolerance_up: 0.1,
            tolerance_down: 0.1,
        })
    }

    #[test]
    fn it_asks_what_the_replica_calculator_asks() {
        for (cpu, ready, unready, current, expected) in [
            (3.0, 4, 0, 4, 6.0),  // 75 % of 50 %: 4 x 1.5
            (2.0, 4, 0, 4, 4.0),  // on target
            (2.2, 4, 0, 4, 4.0),  // +10 %: the edge is inside
            (2.21, 4, 0, 4, 5.0), // just outside
            (1.8, 4, 0, 4, 4.0),  // -10 %
            (1.79, 4, 0, 4, 4.0), // outside, but ceil(3.58) = 4
            (1.0, 4, 0, 4, 2.0),  // half the load
            (0.0, 4, 0, 4, 0.0),  // the bounds come later
            (3.0, 4, 2, 6, 6.0),  // two starting pods already answer it
            (6.0, 4, 2, 6, 12.0), // and here they do not suffice
        ] {
            assert_eq!(
                ask(cpu, ready, unready, current),
                Some(expected),
                "{cpu} {ready} {unready}"
            );
        }
    }

    #[test]
    fn without_ready_pods_or_a_number_it_does_not_act() {
        assert_eq!(ask(1.0, 0, 3, 3), None);
        assert_eq!(ask(f64::NAN, 3, 0, 3), None);
    }

    #[test]
    fn whole_counts_survive_floating_point() {
        for count in 1..5000_u32 {
            let aim = 0.7 * 0.25;
            assert_eq!(ceil_replicas(f64::from(count) * aim / aim), f64::from(count));
        }
    }
}
