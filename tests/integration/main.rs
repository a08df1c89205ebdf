//! Rooms joined, without a cluster: in one process, and as the binary.

mod bank;
mod deciding;
mod demo;
