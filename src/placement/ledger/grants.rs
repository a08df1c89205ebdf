//! Victims that were granted to pods that wait and may go at any moment: their domains' floors are judged
//! without them, so that two preemptors never take the same room above a floor.

use super::nodes::{NodeId, PoolId};
use super::{EntryId, Ledger, Path, State};
use crate::cluster::{Amount, Timestamp};

/// After so many seconds the scheduler has taken one of the candidates or none.
const OPEN_SECONDS: f64 = 10.0;

/// Candidates that one pod was granted at once; the scheduler takes one of them at the most.
#[derive(Debug)]
pub(super) struct Grants {
    at: Timestamp,
    candidates: Vec<(NodeId, Vec<(EntryId, Path)>)>,
}

impl Ledger {
    /// Whether a pod was granted victims as often as one may be before it is bound.
    pub(super) fn was_granted_enough(&self, preemptor: Option<EntryId>) -> bool {
        let granted = preemptor.and_then(|id| self.preemptions.get(&id)).copied().unwrap_or(0);
        granted >= self.settings.preemptions
    }

    /// Counts that a pod is granted victims, by the scheduler or by reclaim, and notes them to be told.
    pub(super) fn count_grant(
        &mut self,
        preemptor: EntryId,
        victims: impl Iterator<Item = (EntryId, Path)>,
    ) {
        *self.preemptions.entry(preemptor).or_insert(0) += 1;
        self.notices.allow(preemptor, victims);
    }

    /// A pod is granted these victims, node by node, and no others any more.
    pub(super) fn grant_victims(
        &mut self,
        preemptor: EntryId,
        candidates: Vec<(NodeId, Vec<(EntryId, Path)>)>,
        now: Timestamp,
    ) {
        self.grants.retain(|_, one| now.seconds_since(one.at) < OPEN_SECONDS);
        self.grants.insert(preemptor, Grants { at: now, candidates });
    }

    /// Loss of each domain in a pool, in CPU and memory: by pods that are going, and at the most by the
    /// victims that pods other than `but` were granted.
    pub(super) fn losing(&self, pool: PoolId, but: Option<EntryId>, now: Timestamp) -> Vec<Amount> {
        let of = |row: &Vec<super::Use>| row.get(usize::from(pool)).map(|used| used.going);
        let mut losing: Vec<Amount> =
            self.uses.iter().map(|row| of(row).unwrap_or_default()).collect();
        for (&preemptor, grants) in &self.grants {
            if Some(preemptor) == but || now.seconds_since(grants.at) >= OPEN_SECONDS {
                continue;
            }
            let node = self.entries[preemptor as usize].as_ref().and_then(|one| one.nominated);
            let mut most = vec![Amount::ZERO; losing.len()];
            for (at, victims) in &grants.candidates {
                if self.nodes.pool(*at) != Some(pool) || node.is_some_and(|node| node != *at) {
                    continue;
                }
                let mut sums = vec![Amount::ZERO; losing.len()];
                for &(victim, _) in victims {
                    let Some(entry) = self.entries[victim as usize].as_ref() else { continue };
                    let stands = matches!(entry.state, State::Bound { node } if node == *at);
                    if let (Some(domain), true, false) = (entry.domain, stands, entry.deleting) {
                        sums[usize::from(domain)] += entry.request;
                    }
                }
                for (most, sum) in most.iter_mut().zip(sums) {
                    *most = most.max(sum);
                }
            }
            for (losing, most) in losing.iter_mut().zip(most) {
                *losing += most;
            }
        }
        losing
    }
}
