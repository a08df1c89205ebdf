//! The loop that decides, and what it publishes.

pub mod peer;
mod published;

pub use published::{Entry, Published};
