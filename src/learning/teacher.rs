//! A privileged teacher for the first iterations: it knows the traffic that really comes.
//!
//! It says of each app the step that brings what the rule asks for closest to the pods that the highest offer of the
//! next minutes takes. The student is asked in the states that it gets into by itself (`DAgger`, Ross et al. 2011) and
//! learns the chance of each step given what it can observe. So what it learns is a mean over all futures that look
//! alike, and not the one that came, which it could not know.

use std::collections::VecDeque;

use super::members::Member;
use super::settings::Teacher;
use crate::policy::hirl::network::STEPS;
use crate::policy::hirl::{self, SoldierView};
use crate::simulation::Traffic;

/// Pods that each app will need, by step of the scenario.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Needed {
    pods: Vec<Vec<f32>>,
    /// Cores that a pod of each app requests.
    cores: Vec<f64>,
}

impl Needed {
    /// In the run of a member.
    pub(super) fn of(member: &Member, teacher: &Teacher) -> Self {
        let scenario = &member.scenario;
        let length = scenario.step_seconds;
        let mut traffic = Traffic::of_run(scenario, member.seed);
        let steps = (scenario.duration_seconds / length).ceil() as usize;
        let ahead = (teacher.seconds / length).round() as usize;
        let mut window: VecDeque<Vec<f64>> = VecDeque::with_capacity(ahead + 1);
        let mut pods = Vec::with_capacity(steps);
        for step in 0..steps + ahead {
            let mut rps = vec![0.0; scenario.apps.len()];
            traffic.offered(step as f64 * length, length, &mut rps);
            window.push_back(rps);
            if window.len() > ahead {
                let highest =
                    |app: usize| window.iter().map(|rps| rps[app]).fold(0.0_f64, f64::max);
                let row =
                    scenario.apps.iter().enumerate().map(|(index, app)| {
                        app.replicas_for(highest(index) * teacher.margin) as f32
                    });
                pods.push(row.collect());
                window.pop_front();
            }
        }
        Self { pods, cores: scenario.apps.iter().map(|app| app.cpu_request).collect() }
    }

    /// What a Soldier should have said in a step of the scenario: an index into [`STEPS`] for each member.
    pub(super) fn steps(&self, view: &SoldierView, time: usize) -> Vec<u32> {
        let step = hirl::Settings::default().step;
        let of = |(app, cores): (&usize, &f64)| {
            let asked = cores / self.cores[*app];
            let needed = self.pods.get(time).map_or(asked, |row| f64::from(row[*app]));
            let distance = |said: f64| (asked * (1.0 + step * said) - needed).abs();
            let nearest = (0..STEPS.len())
                .min_by(|one, other| distance(STEPS[*one]).total_cmp(&distance(STEPS[*other])));
            nearest.unwrap_or(STEPS.len() / 2) as u32
        };
        view.members.iter().zip(&view.cores).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_the_one_that_comes_closest_to_what_will_be_needed() {
        let needed = Needed { pods: vec![vec![10.0, 13.0, 40.0, 2.0, 9.0]], cores: vec![0.5; 5] };
        let view = SoldierView {
            members: vec![0, 1, 2, 3, 4],
            cores: vec![5.0; 5],
            ..SoldierView::default()
        };
        assert_eq!(needed.steps(&view, 0), [2, 4, 4, 0, 1]);
        assert_eq!(needed.steps(&view, 1), [2; 5], "beyond the end: as the rule");
    }
}
