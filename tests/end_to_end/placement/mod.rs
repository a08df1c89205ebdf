//! Budgets at placement: real kube-schedulers, judged by the API server's audit log alone.

mod control;
mod rig;
