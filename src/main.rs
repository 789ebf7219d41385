//! Parses the arguments, starts logging and runs the program: nothing else.
fn main() {}
