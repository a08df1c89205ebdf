//! `make bench`
fn main() {}
