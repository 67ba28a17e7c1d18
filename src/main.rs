//! Arguments to mode; the only place where an error becomes an exit code.

fn main() {}
