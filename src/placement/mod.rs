//! Who holds how much of which node pool, and what follows for the next pod. Pure: no I/O, no
//! clock, no lock; whoever calls brings the instant.
//!
//! [`Ledger`] keeps every pod that the watches show, the holds that `filter` granted and the
//! bindings that are under way. A hold is soft: it narrows a pod to one pool, is replaced by the
//! next `filter` of the same pod and expires. Authority lies in [`Ledger::bind`], truth in what the
//! watches say.

mod budgets;
pub mod entitlement;
mod ledger;
mod pod;
mod settings;
mod verdict;

pub use budgets::{Budgets, DomainBudget, Epoch, UNLIMITED};
pub use ledger::{
    Counts, Eviction, HOST_NAME, Ledger, Notice, Path, PodName, PoolUse, Standing, Unsettled,
    Victim,
};
pub use pod::{Ask, Expression, Needs, NodeFacts, Operator, Pod, Taint, Toleration};
pub use settings::{Growth, Settings};
pub use verdict::{
    BindVerdict, Bypass, Explanation, FilterVerdict, Grant, Outcome, PreemptVerdict, Refusal,
    Resource,
};
