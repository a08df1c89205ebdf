//! Calls between domains: who waits for whom.

use super::queue::Downstream;
use super::scenario::Scenario;

/// Who calls whom, callees before their callers.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls {
    /// Domains, callees first.
    pub order: Vec<usize>,
    /// Apps of each domain.
    pub members: Vec<Vec<usize>>,
    /// Per domain: who is called inline, and how often for one request.
    inline: Vec<Vec<(usize, f64)>>,
    /// Per domain: who is called at all, and how often for one request.
    pub all: Vec<Vec<(usize, f64)>>,
    /// What one call to a domain takes, over its apps by their part of the calls.
    pub answers: Vec<Downstream>,
    /// Tries again of the callers in the last step, which call again: per called domain, per
    /// second.
    pub again: Vec<f64>,
}

impl Calls {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let domains = scenario.domains.len();
        let mut members = vec![Vec::new(); domains];
        for (app, domain) in scenario.domain_of().into_iter().enumerate() {
            members[domain].push(app);
        }
        let (mut inline, mut all) = (vec![Vec::new(); domains], vec![Vec::new(); domains]);
        for call in &scenario.calls {
            let ends = (scenario.domain(&call.from), scenario.domain(&call.to));
            if let (Some(from), Some(to)) = ends {
                all[from].push((to, call.per_request));
                if call.inline {
                    inline[from].push((to, call.per_request));
                }
            }
        }
        // No cycles: each round places at least one domain whose callees are all placed.
        let mut order: Vec<usize> = Vec::with_capacity(domains);
        while order.len() < domains {
            let next = (0..domains).find(|domain| {
                !order.contains(domain) && all[*domain].iter().all(|(to, _)| order.contains(to))
            });
            match next {
                Some(domain) => order.push(domain),
                None => break,
            }
        }
        Self {
            order,
            members,
            inline,
            all,
            answers: vec![Downstream::default(); domains],
            again: vec![0.0; domains],
        }
    }

    /// What the inline calls of one request of a domain take.
    pub(super) fn of(&self, domain: usize) -> Downstream {
        let mut sum = Downstream::default();
        let mut good = 1.0;
        for &(to, per_request) in &self.inline[domain] {
            let answer = &self.answers[to];
            sum.seconds += per_request * answer.seconds;
            sum.variance += per_request * answer.variance;
            good *= (1.0 - answer.error_ratio).max(0.0).powf(per_request);
        }
        sum.error_ratio = 1.0 - good;
        sum
    }
}
