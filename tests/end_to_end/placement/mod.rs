//! Budgets at placement: real kube-schedulers, judged by the API server's audit log alone.

mod boundary;
mod control;
mod drift;
mod epochs;
mod failing;
mod gates;
mod preemption;
mod priority;
mod rig;
mod shipped;
mod stand;
mod storm;
mod tls;
mod together;
