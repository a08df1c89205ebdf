//! What to do about the Lease, given what it says and what this replica saw of it. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::PEER_ADDRESS;

/// What a Lease says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) holder: Option<String>,
    pub(super) address: Option<String>,
    pub(super) epoch: u64,
    /// How long it is good for after a renewal.
    pub(super) duration: Duration,
    /// When it was renewed by its holder's clock: only ever compared with itself.
    pub(super) renewed: Option<String>,
}

impl Record {
    pub(super) fn read(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let annotations = lease.metadata.annotations.as_ref();
        Self {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            address: annotations.and_then(|all| all.get(PEER_ADDRESS)).cloned(),
            epoch: spec.lease_transitions.and_then(|count| count.try_into().ok()).unwrap_or(0),
            duration: Duration::from_secs(
                spec.lease_duration_seconds.and_then(|count| count.try_into().ok()).unwrap_or(0),
            ),
            renewed: spec.renew_time.map(|time| time.0.to_string()),
        }
    }

    /// Whether it is held by `identity` in `epoch`.
    pub(super) fn belongs_to(&self, identity: &str, epoch: u64) -> bool {
        self.holder.as_deref() == Some(identity) && self.epoch == epoch
    }
}

/// What this replica saw of the Lease.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The last record, and when (by our monotonic clock) it first read so.
    last: Option<(Record, Duration)>,
    highest_epoch: u64,
}

impl Memory {
    /// Takes in what the Lease says at `now`. One that was deleted still counts as it last read:
    /// its holder may not have noticed.
    pub(super) fn observe(&mut self, record: Option<&Record>, now: Duration) {
        let Some(record) = record else { return };
        self.highest_epoch = self.highest_epoch.max(record.epoch);
        if self.last.as_ref().is_none_or(|(last, _)| last != record) {
            self.last = Some((record.clone(), now));
        }
    }
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Begin to lead: write the Lease (a new one if there is none) with this epoch.
    ///
    /// It is above every epoch that the Lease or our memory knows. A Lease that does not exist
    /// begins at the minutes since 1970, so that one that somebody deleted never begins below
    /// where it was, whoever makes it again.
    Take {
        /// Of the new term.
        epoch: u64,
    },
    /// Lead on.
    Renew {
        /// Of the present term.
        epoch: u64,
    },
    /// Somebody else leads; look again after this time at the latest.
    Wait(Duration),
}

/// Decides. `leading` is the epoch of our own unbroken term, if there is one.
pub(super) fn next_step(
    record: Option<&Record>,
    identity: &str,
    leading: Option<u64>,
    now: Duration,
    memory: &Memory,
    minutes: u64,
) -> Step {
    let above = memory.highest_epoch + 1;
    let epoch = if record.is_some() { above } else { above.max(minutes) };
    let Some((last, since)) = &memory.last else { return Step::Take { epoch } };
    match (last.holder.as_deref(), leading) {
        (None, _) => Step::Take { epoch },
        (Some(holder), Some(own))
            if holder == identity && last.epoch == own && record.is_some() =>
        {
            Step::Renew { epoch: own }
        }
        // Ours by name, but not this term: this process lost it, or is new after a restart, or
        // somebody deleted the Lease.
        (Some(holder), _) if holder == identity => Step::Take { epoch },
        (Some(_), _) => {
            let left = last.duration.saturating_sub(now.saturating_sub(*since));
            if left.is_zero() { Step::Take { epoch } } else { Step::Wait(left) }
        }
    }
}
