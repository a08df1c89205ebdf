//! Budgets at placement: real kube-schedulers, judged by the API server's audit log alone.

mod boundary;
mod control;
mod epochs;
mod rig;
mod stand;
