//! Without domains: one view of everybody's apps. For the ablation that asks what the hierarchy is good for; nothing that
//! serves uses it.

use super::features::DOMAIN;
use super::{Actor, Command, CommanderView, Orders, SoldierView};

/// What weights that were trained so are marked with, see [`Model::ablation`](super::Model::ablation).
pub const FLAT: &str = "flat";

/// Shows an actor all domains as one, and asks no Commander.
#[derive(Debug)]
pub struct Flat<A>(
    /// Who is asked.
    pub A,
);

impl<A: Actor> Actor for Flat<A> {
    fn command(&mut self, _: &CommanderView) -> Option<Vec<Command>> {
        None
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        if views.is_empty() {
            return Vec::new();
        }
        let said = self.0.order(&[joined(views)]).pop().flatten();
        let mut from = 0;
        let mut own = |view: &SoldierView| {
            let begin = from;
            from += view.members.len();
            let said = said.as_ref()?;
            let steps = said.steps.get(begin..from)?.to_vec();
            Some(Orders { steps, splits: said.splits, velocity: said.velocity })
        };
        views.iter().map(&mut own).collect()
    }
}

/// One view of all apps. What says which domain it is becomes the mean over them.
fn joined(views: &[SoldierView]) -> SoldierView {
    let mean = |index: usize| {
        views.iter().map(|view| view.features[index]).sum::<f32>() / views.len() as f32
    };
    SoldierView {
        domain: 0,
        features: std::array::from_fn::<f32, { DOMAIN.len() }, _>(mean),
        members: views.iter().flat_map(|view| view.members.clone()).collect(),
        apps: views.iter().flat_map(|view| view.apps.clone()).collect(),
        shapes: views.iter().flat_map(|view| view.shapes.clone()).collect(),
        groups: views.iter().flat_map(|view| view.groups.clone()).collect(),
        at_risk: views.iter().flat_map(|view| view.at_risk.clone()).collect(),
        cores: views.iter().flat_map(|view| view.cores.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders each app its index, and remembers of how many views it was asked.
    struct ByIndex(usize);

    impl Actor for ByIndex {
        fn command(&mut self, _: &CommanderView) -> Option<Vec<Command>> {
            None
        }

        fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
            self.0 = views.len();
            let steps = |view: &SoldierView| view.members.iter().map(|it| *it as f64).collect();
            let order =
                |view: &SoldierView| Some(Orders { steps: steps(view), ..Orders::default() });
            views.iter().map(order).collect()
        }
    }

    #[test]
    fn all_apps_are_seen_at_once_and_each_gets_its_own_step() {
        let view = |members: Vec<usize>| SoldierView { members, ..SoldierView::default() };
        let mut flat = Flat(ByIndex(0));
        let said = flat.order(&[view(vec![4, 1]), view(vec![7])]);
        let steps: Vec<_> = said.into_iter().map(|said| said.unwrap().steps).collect();
        assert_eq!((flat.0.0, steps), (1, vec![vec![4.0, 1.0], vec![7.0]]));
        assert!(flat.order(&[]).is_empty());
    }
}
