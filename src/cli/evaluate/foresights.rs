//! Forecasts that the policies of one scenario and seed share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::simulation::scenario::Scenario;
use crate::simulation::{Foresight, Seed};

/// Kept at most: those of the runs that are on their way, which follow each other. One of 150 minutes and five
/// domains is about 0.1 MB.
const MOST: usize = 64;

/// Name of the scenario, number of the seed.
type Key = (String, u64);

/// Made once, by the first who asks; `Err` is one sentence.
type Made = Arc<OnceLock<Result<Arc<Foresight>, String>>>;

/// The newest ones.
#[derive(Default)]
pub(super) struct Foresights(Mutex<VecDeque<(Key, Made)>>);

impl Foresights {
    /// Those of a scenario and seed. Who comes while they are made waits for them.
    pub(super) fn of(
        &self,
        scenario: &Arc<Scenario>,
        (seed, number): (Seed, u64),
    ) -> Result<Arc<Foresight>, String> {
        let made = self.place((scenario.name.clone(), number));
        made.get_or_init(|| Foresight::whole(scenario, seed)).clone()
    }

    fn place(&self, key: Key) -> Made {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = kept.iter().find(|(other, _)| *other == key) {
            return Arc::clone(made);
        }
        if kept.len() == MOST {
            kept.pop_front();
        }
        let made = Made::default();
        kept.push_back((key, Arc::clone(&made)));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::scenario::families;

    #[test]
    fn a_scenario_and_a_seed_have_one_and_the_oldest_go() {
        let foresights = Foresights::default();
        let mut scenario = families::generate(1, Seed::root(1)).unwrap();
        (scenario.duration_seconds, scenario.warm_up_seconds) = (120.0, 0.0);
        let scenario = Arc::new(scenario);
        let of = |number| foresights.of(&scenario, (Seed::root(number), number)).unwrap();
        let first = of(1);
        assert!(Arc::ptr_eq(&first, &of(1)));
        assert_ne!(*first, *of(2));
        for number in 0..MOST as u64 {
            foresights.place(("other".to_owned(), number));
        }
        assert_eq!(foresights.0.lock().unwrap().len(), MOST);
        let again = of(1);
        assert!(!Arc::ptr_eq(&first, &again));
        assert_eq!(*first, *again);
    }
}
