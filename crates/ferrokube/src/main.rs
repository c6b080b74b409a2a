//! ferrokube
fn main() {}
