//! The loop that decides, and what it publishes.

mod published;

pub use published::{Entry, Published};
