//! spillway-cli
fn main() {}
