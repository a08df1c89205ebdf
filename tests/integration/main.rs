//! Rooms joined in one process, without a cluster.

mod bank;
mod deciding;
