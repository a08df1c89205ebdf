//! Which domain's traffic reaches which, over how many calls.

use super::{Reach, Scenario};

/// What one domain's own traffic adds to another's, over every path of calls with the same lag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// Index of the domain whose own traffic it is.
    pub from: usize,
    /// Index of the domain that is called in the end.
    pub to: usize,
    /// Calls that arrive there for each request.
    pub per_request: f64,
    /// How much later, in seconds.
    pub lag_seconds: f64,
}

impl Scenario {
    /// Every path of calls, paths of the same ends and lag as one.
    #[must_use]
    pub fn paths(&self) -> Vec<Path> {
        let mut paths: Vec<Path> = Vec::new();
        let mut front: Vec<Path> = (0..self.domains.len())
            .map(|domain| Path { from: domain, to: domain, per_request: 1.0, lag_seconds: 0.0 })
            .collect();
        // Without a cycle, a path is shorter than the number of domains.
        for _ in 1..self.domains.len() {
            let mut next: Vec<Path> = Vec::new();
            for path in &front {
                let calls = self.calls.iter().filter(|call| {
                    call.per_request > 0.0 && call.from == self.domains[path.to].name
                });
                for call in calls {
                    let Some(to) = self.domain(&call.to) else { continue };
                    let longer = Path {
                        from: path.from,
                        to,
                        per_request: path.per_request * call.per_request,
                        lag_seconds: path.lag_seconds + call.lag_seconds,
                    };
                    merge(&mut next, longer);
                }
            }
            for path in &next {
                merge(&mut paths, *path);
            }
            front = next;
        }
        paths
    }
}

fn merge(paths: &mut Vec<Path>, new: Path) {
    let same = paths.iter_mut().find(|path| {
        path.from == new.from
            && path.to == new.to
            && (path.lag_seconds - new.lag_seconds).abs() < 0.05
    });
    match same {
        Some(path) => path.per_request += new.per_request,
        None => paths.push(new),
    }
}

impl Reach {
    /// Whether each app of the scenario is concerned.
    #[must_use]
    pub fn apps(&self, scenario: &Scenario) -> Vec<bool> {
        let mut left = self.limit.unwrap_or(u32::MAX);
        scenario
            .apps
            .iter()
            .map(|app| {
                let concerned = left > 0
                    && (self.domains.is_empty() || self.domains.contains(&app.domain))
                    && app.name.starts_with(&self.app_prefix);
                left -= u32::from(concerned);
                concerned
            })
            .collect()
    }
}
