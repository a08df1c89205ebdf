//! What is promised, on the real parts: see `tests/testbed`.

#[path = "../testbed/mod.rs"]
mod testbed;

mod testbed_works;
