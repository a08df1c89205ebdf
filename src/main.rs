//! Entry point. Everything else is in the library.
fn main() {}
