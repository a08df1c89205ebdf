//! Rooms joined in one process, without a cluster.

#[path = "../hpa_table/mod.rs"]
mod hpa_table;

mod bank;
mod deciding;
mod hpa_answers;
