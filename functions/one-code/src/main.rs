//! one-code
fn main() {}
