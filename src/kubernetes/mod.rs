//! The API server: its objects become snapshots, it says who asks and what they may, and a Lease
//! decides who decides. The only writes are the Lease, the status of our own `Domain`s, reviews
//! and Events; never a workload object.

mod bindings;
mod client;
mod domain;
mod events;
mod front_proxy;
mod growth;
mod index;
mod lease;
mod objects;
mod placing;
mod report;
mod reviews;
mod selector;
mod settings;
mod watches;

pub use bindings::{Bindings, NewBinding, Sent, Whereabouts};
pub use client::{ClientError, connect, connect_multiplexed};
pub use domain::{
    BudgetSpec, Condition, Domain, DomainSpec, DomainStatus, EmergencySpec, PlacementStatus,
    PoolShareSpec, SloSpec, crd, crd_yaml,
};
pub use events::{Events, PodEvent};
pub use front_proxy::{
    AUTHENTICATION_CONFIG_MAP, AUTHENTICATION_NAMESPACE, BadEntry, FrontProxy, watch_front_proxy,
};
pub use growth::{GrowthSource, follow_growth};
pub use index::{DomainObject, Ownership};
pub use lease::{Election, Leadership, LeaseGuard, LeaseSettings};
pub use placing::{AskedPod, GATE, Placements};
pub use report::Reporter;
pub use reviews::{Access, Attributes, ReviewError, Reviews, User};
pub use selector::{Operator, Requirement, Selector};
pub use settings::{DefaultDomain, POOL_LABELS, Service, Settings};
pub use watches::Watches;

/// The API group of our objects, and the prefix of our labels and annotations.
pub const GROUP: &str = "hirl-scale.io";
/// Annotation on an HPA: the CPU utilisation that a plain HPA would aim at, `"70"` or `"70%"`.
pub const TARGET_CPU: &str = "hirl-scale.io/target-cpu";
/// Name of the `APIService` through which the API server asks us.
pub const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
