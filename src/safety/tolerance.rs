//! The HPA's dead band: which numbers it will ignore.
//!
//! With `AverageValue: "1"` the controller compares `N / status.replicas` with 1 and does nothing
//! inside the tolerance, both edges included (`GetExternalPerPodMetricReplicas`).

use crate::cluster::App;

/// Whether the HPA ignores `wanted` while `standing` replicas exist.
#[must_use]
pub fn ignores(app: &App, standing: u32, wanted: u32) -> bool {
    if standing == 0 || wanted == standing {
        return false;
    }
    let ratio = f64::from(wanted) / f64::from(standing);
    if wanted > standing {
        ratio <= 1.0 + app.tolerance_up
    } else {
        ratio >= 1.0 - app.tolerance_down
    }
}

/// The nearest number to `wanted` that the HPA does not ignore, rounded the safe way: up leaves
/// the band upwards, down stays where it stands. Within the HPA's bounds.
#[must_use]
pub fn reachable(app: &App, standing: u32, wanted: u32) -> u32 {
    if !ignores(app, standing, wanted) {
        return wanted;
    }
    if wanted < standing {
        return standing;
    }
    let beyond = (f64::from(standing) * (1.0 + app.tolerance_up)).floor() as u32 + 1;
    if beyond <= app.max_replicas { beyond } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::AppId;

    fn app(tolerance: f64) -> App {
        App {
            tolerance_up: tolerance,
            tolerance_down: tolerance,
            max_replicas: 2000,
            ..App::fixture(AppId::new("bank", "web"), 0)
        }
    }

    #[test]
    fn the_default_dead_band_is_the_one_the_controller_has() {
        for (standing, wanted, ignored) in [
            (9, 10, false),
            (9, 8, false),
            (10, 11, true),
            (10, 9, true),
            (100, 110, true),
            (100, 111, false),
            (100, 90, true),
            (100, 89, false),
            (50, 45, true),
            (50, 55, true),
            (1000, 1100, true),
            (0, 5, false),
            (7, 7, false),
        ] {
            assert_eq!(ignores(&app(0.1), standing, wanted), ignored, "{standing} -> {wanted}");
            assert!(
                !ignores(&app(0.0), standing, wanted),
                "{standing} -> {wanted} without tolerance"
            );
        }
    }

    #[test]
    fn rounding_leaves_the_band_upwards_and_never_lowers() {
        assert_eq!(reachable(&app(0.1), 100, 105), 111);
        assert_eq!(reachable(&app(0.1), 100, 95), 100);
        assert_eq!(reachable(&app(0.1), 100, 120), 120);
        assert_eq!(reachable(&App { max_replicas: 105, ..app(0.1) }, 100, 104), 104);
    }
}
