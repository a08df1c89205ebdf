//! Rooms joined, without a cluster: in one process, and as the binary.

#[path = "../hpa_table/mod.rs"]
mod hpa_table;

mod bank;
mod deciding;
mod demo;
mod histories;
mod hpa_answers;
mod simulating;
mod threads;
